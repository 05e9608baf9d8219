//! Regular expressions for header values.

/// Returns a regular expression (RE2) for exactly this text.
pub(crate) fn literally(text: &str) -> String {
    let mut regex = String::with_capacity(text.len());
    for character in text.chars() {
        if r"\.+*?()|[]{}^$".contains(character) {
            regex.push('\\');
        }
        regex.push(character);
    }
    regex
}
