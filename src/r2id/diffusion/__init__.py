"""Generation: noise field, schedule, guidance, pipeline; imports errors, geometry, runtime, files, networks
and conditioning."""
