"""What is done otherwise on one kind of machine, each with what it pays there.

Nothing here changes what is computed, but for rounding.  What no longer pays goes.
"""
