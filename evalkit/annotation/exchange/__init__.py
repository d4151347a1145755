"""Studies of other tools: Label Studio, Potato."""
