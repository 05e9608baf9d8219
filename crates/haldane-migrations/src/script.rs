//! A file of migrations taken apart: its statements, each with its place, its comments, and whether it runs in a transaction.
//!
//! Marks of the usual tools are understood: dbmate's `-- migrate:up`, goose's `-- +goose Up`, sql-migrate's `-- +migrate Up`, each with
//! its way to do without a transaction; MySQL's DELIMITER; psql's lines that begin with a backslash.

use crate::{
    dialect::Dialect,
    token::{Kind, Lexer, Token},
};

/// Among so many first tokens a CREATE says what it creates.
const HEAD: usize = 8;

/// Which way a migration goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Forward.
    Up,
    /// Back.
    Down,
}

/// What is known of the transaction in which a statement runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transaction {
    /// The file says that there is one.
    Told,
    /// Most tools run a file in one.
    Likely,
    /// There is none.
    None,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// As it stands there, without what ends it.
    pub text: String,
    /// The line in which it begins.
    pub line: u32,
    /// Its words in upper case, its names in quotes and its strings as they are.
    pub words: Vec<String>,
    /// Which way it goes.
    pub direction: Direction,
    /// In what it runs.
    pub transaction: Transaction,
    /// Whether a part of it is one that no parser reads: a comment that MySQL runs, a line for psql.
    pub is_odd: bool,
    /// What stands before it and beside it.
    pub comments: Vec<Comment>,
}

/// A comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Comment {
    /// Without its signs.
    pub text: String,
    /// Where it begins.
    pub line: u32,
}

/// Takes a file apart.
pub(crate) fn split(text: &str, direction: Direction, dialect: Dialect) -> Vec<Piece> {
    let mut splitter = Splitter {
        text,
        lexer: Lexer::new(text, dialect),
        direction,
        mark: Transaction::Likely,
        is_open: false,
        is_held: false,
        end: None,
        is_routine: false,
        parentheses: 0,
        blocks: 0,
        tokens: Vec::new(),
        comments: Vec::new(),
        pieces: Vec::new(),
    };
    splitter.run();
    splitter.pieces
}

struct Splitter<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    direction: Direction,
    /// What the file's marks say of transactions.
    mark: Transaction,
    /// Whether a BEGIN was not committed yet.
    is_open: bool,
    /// Whether ends don't count, between goose's marks.
    is_held: bool,
    /// The line of the last end, for a comment beside it.
    end: Option<u32>,
    /// Whether what is read is a routine, whose body has statements of its own.
    is_routine: bool,
    /// How many are open.
    parentheses: i64,
    /// How many of the body's BEGINs and CASEs are open.
    blocks: i64,
    tokens: Vec<Token<'a>>,
    comments: Vec<Comment>,
    pieces: Vec<Piece>,
}

impl<'a> Splitter<'a> {
    fn run(&mut self) {
        while let Some(token) = self.lexer.next() {
            match token.kind {
                Kind::Comment => self.comment(token),
                Kind::End if !self.is_held && self.is_whole() => {
                    self.end = Some(token.line);
                    let copies = self.copies();
                    self.cut();
                    if copies {
                        self.lexer.skip_copied();
                    }
                }
                Kind::Meta if self.tokens.is_empty() => {
                    self.push(token);
                    self.cut();
                }
                Kind::Word
                    if self.tokens.is_empty() && token.text.eq_ignore_ascii_case("delimiter") =>
                {
                    self.lexer.read_delimiter();
                }
                Kind::Word
                | Kind::Quoted
                | Kind::Text
                | Kind::Number
                | Kind::Symbol
                | Kind::End
                | Kind::Executable
                | Kind::Meta => {
                    self.push(token);
                }
            }
        }
        self.cut();
    }

    fn comment(&mut self, token: Token<'_>) {
        let text = token.text.trim_start_matches(['-', '#', '/', '*']);
        let text = text.trim_end_matches(['*', '/']).trim().to_owned();
        self.mark(&text.to_lowercase());
        let comment = Comment {
            text,
            line: token.line,
        };
        match self.pieces.last_mut() {
            Some(last) if self.tokens.is_empty() && self.end == Some(token.line) => {
                last.comments.push(comment)
            }
            _ => self.comments.push(comment),
        }
    }

    /// Reads a mark of a tool.
    fn mark(&mut self, text: &str) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (direction, rest) = match *words.as_slice() {
            ["migrate:up", ref rest @ ..] | ["+goose" | "+migrate", "up", ref rest @ ..] => {
                (Direction::Up, rest)
            }
            ["migrate:down", ref rest @ ..] | ["+goose" | "+migrate", "down", ref rest @ ..] => {
                (Direction::Down, rest)
            }
            ["+goose" | "+migrate", "statementbegin"] => {
                self.is_held = true;
                return;
            }
            ["+goose" | "+migrate", "statementend"] => {
                self.is_held = false;
                self.cut();
                return;
            }
            ["+goose", "no", "transaction"] | ["no-transaction"] => {
                self.mark = Transaction::None;
                return;
            }
            _ => return,
        };
        self.cut();
        self.direction = direction;
        let without = rest
            .iter()
            .any(|word| matches!(*word, "transaction:false" | "notransaction"));
        if without {
            self.mark = Transaction::None;
        } else if self.mark != Transaction::None || !text.starts_with("+goose") {
            self.mark = Transaction::Told;
        }
    }

    /// Whether a statement may end here: not inside of parentheses, nor of a routine's body.
    fn is_whole(&self) -> bool {
        self.lexer.has_own_delimiter() || self.parentheses <= 0 && self.blocks <= 0
    }

    /// Takes a token into the statement.
    fn push(&mut self, token: Token<'a>) {
        let is = |token: &Token<'_>, words: &[&str]| {
            token.kind == Kind::Word
                && words
                    .iter()
                    .any(|word| token.text.eq_ignore_ascii_case(word))
        };
        let follows_end = self.tokens.last().is_some_and(|last| is(last, &["end"]));
        if self.tokens.len() < HEAD
            && self
                .tokens
                .first()
                .is_some_and(|first| is(first, &["create"]))
        {
            self.is_routine |= is(&token, &["procedure", "function", "trigger", "event"]);
        }
        let (parentheses, blocks) = match token.text {
            "(" => (1, 0),
            ")" => (-1, 0),
            _ if !self.is_routine => (0, 0),
            _ if is(&token, &["begin"]) || is(&token, &["case"]) && !follows_end => (0, 1),
            _ if is(&token, &["end"]) => (0, -1),
            // END IF ends no block, so that what END took is given back.
            _ if follows_end && is(&token, &["if", "loop", "while", "repeat"]) => (0, 1),
            _ => (0, 0),
        };
        self.parentheses = self.parentheses.saturating_add(parentheses);
        self.blocks = self.blocks.saturating_add(blocks);
        self.tokens.push(token);
    }

    /// Whether data follow the statement.
    fn copies(&self) -> bool {
        let is = |token: Option<&Token<'_>>, word: &str| {
            token.is_some_and(|token| token.text.eq_ignore_ascii_case(word))
        };
        is(self.tokens.first(), "copy") && self.tokens.iter().any(|token| is(Some(token), "stdin"))
    }

    /// Ends the statement.
    fn cut(&mut self) {
        let tokens = std::mem::take(&mut self.tokens);
        (self.is_routine, self.parentheses, self.blocks) = (false, 0, 0);
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
            return;
        };
        let end = last.start.saturating_add(last.text.len());
        let words: Vec<String> = tokens.iter().map(word).collect();
        let begins: Vec<&str> = words.iter().take(2).map(String::as_str).collect();
        match *begins.as_slice() {
            ["BEGIN", ..] | ["START", "TRANSACTION"] => self.is_open = true,
            ["COMMIT" | "ROLLBACK" | "END", ..] => self.is_open = false,
            _ => {}
        }
        let is_odd = |token: &Token<'_>| matches!(token.kind, Kind::Executable | Kind::Meta);
        self.pieces.push(Piece {
            text: self
                .text
                .get(first.start..end)
                .unwrap_or_default()
                .to_owned(),
            line: first.line,
            words,
            direction: self.direction,
            transaction: if self.is_open {
                Transaction::Told
            } else {
                self.mark
            },
            is_odd: tokens.iter().any(is_odd),
            comments: std::mem::take(&mut self.comments),
        });
    }
}

fn word(token: &Token<'_>) -> String {
    match token.kind {
        Kind::Word => token.text.to_uppercase(),
        Kind::Quoted
        | Kind::Text
        | Kind::Number
        | Kind::Symbol
        | Kind::End
        | Kind::Comment
        | Kind::Executable
        | Kind::Meta => token.text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str, dialect: Dialect) -> Vec<(u32, String)> {
        let pieces = split(text, Direction::Up, dialect);
        pieces
            .into_iter()
            .map(|piece| (piece.line, piece.text))
            .collect()
    }

    #[test]
    fn statements_end_where_they_end() {
        let text = "-- first\nSELECT 1; SELECT\n 2;\nCREATE RULE r AS ON INSERT TO a DO (SELECT 1; SELECT 2);\n\nSELECT 3";
        let expected = [
            (2, "SELECT 1"),
            (2, "SELECT\n 2"),
            (4, "CREATE RULE r AS ON INSERT TO a DO (SELECT 1; SELECT 2)"),
            (6, "SELECT 3"),
        ];
        assert_eq!(
            texts(text, Dialect::Postgres),
            expected.map(|(line, text)| (line, text.to_owned()))
        );
    }

    #[test]
    fn bodies_of_routines_are_whole() {
        let body = "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW BEGIN IF 1 THEN SET @a = 1; END IF; SET @b = CASE 1 WHEN 1 THEN 2 END; END";
        assert_eq!(texts(&format!("{body}; SELECT 1"), Dialect::Mysql).len(), 2);
        let text = format!("DELIMITER //\n{body}//\nDELIMITER ;\nSELECT 1;");
        assert_eq!(
            texts(&text, Dialect::Mysql),
            [(2, body.to_owned()), (4, "SELECT 1".to_owned())]
        );
        let body = "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END";
        assert_eq!(
            texts(&format!("{body}; SELECT 1"), Dialect::Postgres).len(),
            2
        );
        let held = "-- +goose StatementBegin\nDO a; b\n-- +goose StatementEnd\nSELECT 1;";
        assert_eq!(
            texts(held, Dialect::Postgres),
            [(2, "DO a; b".to_owned()), (4, "SELECT 1".to_owned())]
        );
    }

    #[test]
    fn copied_data_are_no_statements() {
        let text = "COPY a (b) FROM stdin;\nDROP TABLE a;\n\\.\nSELECT 1;\n\\restrict x\nSELECT 2;";
        let expected = [
            (1, "COPY a (b) FROM stdin"),
            (4, "SELECT 1"),
            (5, "\\restrict x"),
            (6, "SELECT 2"),
        ];
        assert_eq!(
            texts(text, Dialect::Postgres),
            expected.map(|(line, text)| (line, text.to_owned()))
        );
    }

    #[test]
    fn marks_tell_direction_and_transaction() {
        let tell = |text: &str| -> Vec<(Direction, Transaction)> {
            let pieces = split(text, Direction::Up, Dialect::Postgres);
            pieces
                .iter()
                .map(|piece| (piece.direction, piece.transaction))
                .collect()
        };
        let (up, down) = (Direction::Up, Direction::Down);
        for (text, expected) in [
            ("SELECT 1", vec![(up, Transaction::Likely)]),
            (
                "-- migrate:up\nSELECT 1;\n-- migrate:down\nSELECT 2",
                vec![(up, Transaction::Told), (down, Transaction::Told)],
            ),
            (
                "-- migrate:up transaction:false\nSELECT 1",
                vec![(up, Transaction::None)],
            ),
            (
                "-- +goose NO TRANSACTION\n-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 2",
                vec![(up, Transaction::None), (down, Transaction::None)],
            ),
            (
                "-- +migrate Up notransaction\nSELECT 1",
                vec![(up, Transaction::None)],
            ),
            ("-- no-transaction\nSELECT 1", vec![(up, Transaction::None)]),
        ] {
            assert_eq!(tell(text), expected, "{text}");
        }
        let told = tell("SELECT 0; BEGIN; SELECT 1; COMMIT; SELECT 2");
        let expected = [
            Transaction::Likely,
            Transaction::Told,
            Transaction::Told,
            Transaction::Likely,
            Transaction::Likely,
        ];
        assert_eq!(told.iter().map(|one| one.1).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_comment_beside_a_statement_is_its_own() {
        let pieces = split(
            "-- a\nSELECT 1; -- b\n-- c\nSELECT /* d */ 2;",
            Direction::Up,
            Dialect::Postgres,
        );
        let comments = |index: usize| -> Vec<&str> {
            pieces[index]
                .comments
                .iter()
                .map(|one| one.text.as_str())
                .collect()
        };
        assert_eq!(comments(0), ["a", "b"]);
        assert_eq!(comments(1), ["c", "d"]);
    }
}
