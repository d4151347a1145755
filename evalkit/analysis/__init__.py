"""What runs say beside each other: comparison, leaderboard, calibration, published figures."""
