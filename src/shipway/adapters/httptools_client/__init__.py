"""The gateway's fast way to engines: pooled HTTP/1.1 connections parsed by httptools."""
