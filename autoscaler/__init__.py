"""llm-autoscaler: a KEDA external scaler that sizes LLM inference fleets to a latency objective."""

__version__ = "0.1.0"
