"""KEDA's external scaler protocol; the generated code is committed, `python -m scaler_proto.generate` makes it anew."""
