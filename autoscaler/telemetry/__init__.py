"""What we tell of ourselves: metrics, logs, the flight record and its replay.

The law of this layer: it observes and never decides; nothing here blocks the loop, and nothing that fails here stops
scaling. prometheus_client's registry is an object of ours, not the global one.
"""
