"""Which trials run, where and for how long."""

from .. import trainables as trainables  # sets up the environment before torch is imported
