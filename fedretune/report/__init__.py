"""What people read of runs: one HTML file, made from run folders alone."""
