"""The guide to plans: its page, pictures and networks."""
