"""Every peer's rule, ready to be run in the same world as ours; see `peer` for the law."""
