//! Schema changes: which statements of a migration are safe while two versions of a service run beside each other.
