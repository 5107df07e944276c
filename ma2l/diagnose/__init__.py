"""Why a run ended: the outcome as data, and the report that a person reads."""
