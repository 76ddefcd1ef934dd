"""What hpopt makes of kills, damaged files and hostile words, many times over.

    python -m benchmarks.campaigns NAME [--seed SEED] [--count COUNT]

A campaign is a module with WHAT (a line), COUNT (of cases) and `case`, a generator that yields a
text for everything that it tried: "" where all was well, else what was wrong. A case depends on its
seed alone, so that `--seed SEED --count 1` tries one again; where processes are killed that is what
is asked for, not the instants. Run it from the top of the repository.
"""
