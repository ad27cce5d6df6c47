"""Maps of the flow estimator: each file holds the maps that ``flow.maps`` names.

A plug-in has ``train`` (a stack of flows fitted at once, :class:`pidflow.flows.training.TrainedStack`), ``stored`` (the
weights of one layer, by name) and ``opened``
(both directions of one stored flow, :class:`pidflow.flows.maps._maps.Maps`).
"""
