"""Agents that learn by PPO while their environment changes."""
