"""Which trials run, where and for how long."""
