"""The benchmarks: each measures Branchline against something real, in the same run, with the two sides taking turns."""
