"""The control loop: one task per service collects, plans and publishes.

The law of this layer: it knows ports, config records and core, never an implementation; no third party beside asyncio.
The newest decision of every service stands on the board; KEDA is answered from there and never waits.
"""
