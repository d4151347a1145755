"""Reinforcement learning: rollouts, rewards, PPO."""
