"""What training needs: residents, saved activations, the moments of a step, and many GPUs. Pure arithmetic."""
