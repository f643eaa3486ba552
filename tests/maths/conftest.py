"""Properties are tried without a time limit each: on a busy machine one slow example is not a failure."""

from hypothesis import settings

settings.register_profile("maths", deadline=None)
settings.load_profile("maths")
