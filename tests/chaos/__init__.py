"""The whole product under load while everything around it, and parts of it, are killed.

    plan     what a run does, drawn from its seed before it starts
    run      plays the plan against real processes and servers, and collects what was seen
    judge    what was seen against what was promised

Nothing here looks inside the product: it is driven over HTTP and by its processes, and judged by
what the simulator saw and by the rows.
"""
