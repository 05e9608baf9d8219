//! What the sample shop sells.

use serde_json::{Value, json};

/// Number, name and price of each product.
const PRODUCTS: [(&str, &str, &str); 6] = [
    ("1", "Safety lamp", "24.50"),
    ("2", "Pit helmet", "18.00"),
    ("3", "Canary cage with oxygen bottle", "61.00"),
    ("4", "Firedamp indicator", "39.90"),
    ("5", "Snap tin", "7.25"),
    ("6", "Brass check", "2.10"),
];

/// Returns the list of all products.
pub(super) fn all() -> Value {
    PRODUCTS.iter().map(product).collect()
}

/// Returns the product with the number `id`, if there is one.
pub(super) fn one(id: &str) -> Option<Value> {
    PRODUCTS
        .iter()
        .find(|(number, _, _)| *number == id)
        .map(product)
}

fn product((id, name, price): &(&str, &str, &str)) -> Value {
    json!({ "id": id, "name": name, "price": price })
}
