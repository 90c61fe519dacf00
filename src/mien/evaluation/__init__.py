"""How good, how sure, and what to do: metrics, intervals, the decision and its report."""
