"""Settings: the targets file, trigger metadata and the environment, in one vocabulary.

The law of this layer: text in, frozen records out; every error of a source at once, each with its path, what was
found and what was expected. Unknown keys are errors in files (with the nearest valid name) and warnings in metadata,
because KEDA and KServe forward keys of their own. Precedence: metadata over file over environment over default.
"""
