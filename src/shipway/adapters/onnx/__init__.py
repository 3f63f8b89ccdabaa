"""Small models on onnxruntime: the sentence embedder and the cross-encoder."""
