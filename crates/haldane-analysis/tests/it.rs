//! The judges against published values, on whole files.

#[cfg(test)]
mod it {
    mod score;
}
