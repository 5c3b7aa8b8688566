"""What is run and for how long: configurations, protocols and their loops."""
