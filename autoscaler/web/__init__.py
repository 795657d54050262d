"""The HTTP face: our metrics, health, newest decisions as JSON, the wake API.

The law of this layer: it shows and takes wishes; it decides nothing and never imports the gRPC face.
"""
