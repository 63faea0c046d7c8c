//! SQL taken apart into words, names and symbols.

/// A piece of SQL. Comments and string constants are left out; numbers and operators become
/// [`Token::Other`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// A keyword or a plain name.
    Word(Word),
    /// `"a name in quotes"`.
    Quoted { name: String, line: usize },
    /// `( ) , ; .`
    Symbol(char),
    /// `{…}`: a format argument, filled in at run time.
    Computed { line: usize },
    /// Anything else.
    Other { line: usize },
}

/// A keyword or a plain name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub lower: String,
    pub in_capitals: bool,
    /// Lines after the beginning of the text.
    pub line: usize,
}

impl Token {
    /// The lower-case word, if it is one outside quotes.
    pub(crate) fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(&word.lower),
            _ => None,
        }
    }

    /// The name that this could be.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(&word.lower),
            Self::Quoted { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Lines after the beginning of the text; 0 for a symbol.
    pub(crate) fn line(&self) -> usize {
        match self {
            Self::Word(word) => word.line,
            Self::Quoted { line, .. } | Self::Computed { line } | Self::Other { line } => *line,
            Self::Symbol(_) => 0,
        }
    }
}

/// Takes `text` apart. The body of a `$$ … $$` block comes as if it stood in parentheses.
pub(crate) fn tokenize(text: &str) -> Vec<Token> {
    Lexer { rest: text, line: 0, tokens: Vec::new() }.run()
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn run(mut self) -> Vec<Token> {
        while let Some(next) = self.rest.chars().next() {
            self.token(next);
        }
        self.tokens
    }

    fn token(&mut self, next: char) {
        let line = self.line;
        match next {
            '-' if self.rest.starts_with("--") => {
                self.take_through("\n");
            }
            '/' if self.rest.starts_with("/*") => {
                self.take_through("*/");
            }
            '\'' => {
                self.take(1);
                self.take_through("'");
                self.tokens.push(Token::Other { line });
            }
            '"' => {
                self.take(1);
                let name = self.take_through("\"").to_owned();
                self.tokens.push(Token::Quoted { name, line });
            }
            '{' => {
                self.take_through("}");
                self.tokens.push(Token::Computed { line });
            }
            '$' => self.dollar(),
            '(' | ')' | ',' | ';' | '.' => {
                self.take(1);
                self.tokens.push(Token::Symbol(next));
            }
            _ if next.is_whitespace() => {
                self.take(next.len_utf8());
            }
            _ if next.is_alphabetic() || next == '_' => {
                let text = self.take_while(|c| c.is_alphanumeric() || c == '_' || c == '$');
                let word = Word {
                    lower: text.to_lowercase(),
                    in_capitals: !text.chars().any(char::is_lowercase),
                    line,
                };
                self.tokens.push(Token::Word(word));
            }
            _ if next.is_ascii_digit() => {
                self.take_while(char::is_alphanumeric);
                self.tokens.push(Token::Other { line });
            }
            _ => {
                self.take(next.len_utf8());
                self.tokens.push(Token::Other { line });
            }
        }
    }

    /// `$1`, or a block between two `$tag$`.
    fn dollar(&mut self) {
        let line = self.line;
        let tag_end =
            self.rest[1..].find(|c: char| !c.is_alphanumeric() && c != '_').map(|end| end + 1);
        let tag =
            tag_end.filter(|end| self.rest[*end..].starts_with('$')).map(|end| &self.rest[..=end]);
        let Some(tag) = tag else {
            self.take(1);
            self.take_while(char::is_alphanumeric);
            self.tokens.push(Token::Other { line });
            return;
        };
        self.take(tag.len());
        let body = Lexer { rest: "", line: self.line, tokens: Vec::new() };
        let text = self.take_through(tag);
        self.tokens.push(Token::Symbol('('));
        self.tokens.extend(Lexer { rest: text, ..body }.run());
        self.tokens.push(Token::Symbol(')'));
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    /// Takes up to and with `end`; returns what stands before it.
    fn take_through(&mut self, end: &str) -> &'a str {
        match self.rest.find(end) {
            Some(at) => {
                let taken = self.take(at);
                self.take(end.len());
                taken
            }
            None => self.take(self.rest.len()),
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c: char| !wanted(c)).unwrap_or(self.rest.len());
        self.take(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        tokenize(text).iter().filter_map(|token| token.name().map(str::to_owned)).collect()
    }

    #[test]
    fn comments_strings_and_numbers_are_no_words() {
        assert_eq!(words("a 'it''s' -- c\n b /* d */ 12e3 $1 :: \"E f\""), ["a", "b", "E f"]);
    }

    #[test]
    fn a_dollar_quoted_body_is_read_in_parentheses() {
        let tokens = tokenize("AS $fn$ SELECT 1;\nEND $fn$;");
        assert_eq!(
            tokens.iter().filter(|token| matches!(token, Token::Symbol('(' | ')'))).count(),
            2
        );
        let end = tokens.iter().find(|token| token.word() == Some("end")).expect("END is read");
        assert_eq!(end.line(), 1);
    }
}
