"""Controllers decide inside one run, and know neither who trains nor where: hosts do.

A host drives a controller's generator: it is asked for stretches of training, and says what was
seen after each (`hpopt.controllers.protocol`). A trial of the pool is one host
(`hpopt.searchers.steered`).
"""
