//! The broker: configuration, request handlers, partition cells, log storage, metrics, command line.
