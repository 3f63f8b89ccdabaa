"""Vector search by FAISS."""
