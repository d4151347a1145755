"""What a model is shown besides the question: image padding, system text, prompt formats."""
