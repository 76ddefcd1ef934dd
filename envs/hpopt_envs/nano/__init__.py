"""Nano worlds: many real models of thousands of parameters, trained side by side."""
