"""The gRPC face towards KEDA: the external scaler, health, reflection, TLS.

The law of this layer: handlers read the board and never wait, do no I/O and never raise past the servicer; "I do not
know" is a status, never a number. grpc lives here and in the laboratory only.
"""
