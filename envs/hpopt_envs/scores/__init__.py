"""What judges texts that a model wrote: rules, rewards models, functions of the user's."""
