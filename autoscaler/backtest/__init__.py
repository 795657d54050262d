"""Back-test: a service's own history through the simulator, and the report of what this autoscaler would have done.

The law of this layer: reading sources and writing reports only; what is simulated is `simulation`'s, what a page means
is `modelservers`'. It imports core, simulation, modelservers, exposition, the flight record's reader and the settings'
vocabulary; the live service never imports it.

    source -> History (requests, what ran, gaps) -> Scenario -> outcomes of policies -> findings -> table, JSON, HTML
"""
