"""Settings of the whole suite."""

import hypothesis

# No deadline, since no test may depend on the machine's speed; the same examples every time, so
# that a change and not chance makes a test fail.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")
