"""The contrastive loss over the negatives of all ranks."""
