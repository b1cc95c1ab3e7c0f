//! A user: whether it may come in, by which passwords, and what it may do then.

use crate::rule::RuleError;
use crate::selector::Selector;
use crate::{Channel, CommandId, Denied, Digest, Request, Terms};

/// A user; see the crate's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    name: Box<[u8]>,
    is_on: bool,
    /// Any password is right.
    no_password: bool,
    payloads: Payloads,
    passwords: Vec<Digest>,
    root: Selector,
    others: Vec<Selector>,
}

/// Whether RESTORE looks at what the user gives it. Here it always does; the word is kept for those who read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payloads {
    NothingSaid,
    Sanitized,
    Skipped,
}

impl User {
    /// A new user, who may do nothing and not come in.
    pub fn new(name: &[u8], terms: Terms<'_>) -> User {
        User {
            name: name.into(),
            is_on: false,
            no_password: false,
            payloads: Payloads::NothingSaid,
            passwords: Vec::new(),
            root: Selector::new(terms),
            others: Vec::new(),
        }
    }

    /// The user that connections are of before they say who they are, who may do everything until told otherwise.
    pub fn new_default(terms: Terms<'_>) -> User {
        let mut user = User::new(crate::DEFAULT, terms);
        for rule in ["on", "nopass", "~*", "&*", "+@all"] {
            user.apply(rule.as_bytes(), terms).expect("these rules are right");
        }
        user
    }

    /// The name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether it may come in at all.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether it needs no password.
    pub fn has_no_password(&self) -> bool {
        self.no_password
    }

    /// Whether somebody who has not said who it is may act as this user.
    pub fn needs_no_login(&self) -> bool {
        self.is_on && self.no_password
    }

    /// Whether there is nothing that it may not do. Most are so, and are to cost nothing.
    pub fn is_unrestricted(&self) -> bool {
        self.root.is_unrestricted()
    }

    /// Whether it comes in with this password.
    pub fn lets_in(&self, password: &[u8]) -> bool {
        if !self.is_on {
            return false;
        }
        if self.no_password {
            return true;
        }
        let digest = Digest::of(password);
        // All are compared, so that the time does not tell which one is right.
        self.passwords.iter().fold(false, |found, known| known.matches(&digest) | found)
    }

    /// Makes it the only password that is right, or lets any be right (`requirepass`).
    pub fn set_password(&mut self, password: Option<&[u8]>) {
        self.passwords = password.map(Digest::of).into_iter().collect();
        self.no_password = password.is_none();
    }

    /// Applies one rule. After an error nothing has changed.
    ///
    /// # Errors
    /// What is wrong with the rule.
    pub fn apply(&mut self, rule: &[u8], terms: Terms<'_>) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"on" => self.is_on = true,
            b"off" => self.is_on = false,
            b"nopass" => {
                self.no_password = true;
                self.passwords.clear();
            }
            b"resetpass" => {
                self.no_password = false;
                self.passwords.clear();
            }
            b"sanitize-payload" => self.payloads = Payloads::Sanitized,
            b"skip-sanitize-payload" => self.payloads = Payloads::Skipped,
            b"clearselectors" => self.others.clear(),
            b"reset" => {
                let new = User::new(&self.name, terms);
                *self = User { payloads: Payloads::Sanitized, ..new };
            }
            _ => match rule.first() {
                Some(b'>') => self.add_password(Digest::of(&rule[1..])),
                Some(b'#') => self.add_password(Digest::parse(&rule[1..]).ok_or(RuleError::BadDigest)?),
                Some(b'<') => self.remove_password(Digest::of(&rule[1..]))?,
                Some(b'!') => self.remove_password(Digest::parse(&rule[1..]).ok_or(RuleError::BadDigest)?)?,
                Some(b'(') => self.others.push(Selector::parse(rule, terms)?),
                _ => self.root.apply(rule, terms)?,
            },
        }
        Ok(())
    }

    /// Applies these rules one after the other to a copy of it.
    ///
    /// # Errors
    /// The first rule that is wrong, and what is wrong with it.
    pub fn with<'r>(&self, rules: &'r [Vec<u8>], terms: Terms<'_>) -> Result<User, (&'r [u8], RuleError)> {
        let mut user = self.clone();
        for rule in rules {
            user.apply(rule, terms).map_err(|error| (rule.as_slice(), error))?;
        }
        Ok(user)
    }

    fn add_password(&mut self, digest: Digest) {
        self.no_password = false;
        if !self.passwords.contains(&digest) {
            self.passwords.push(digest);
        }
    }

    fn remove_password(&mut self, digest: Digest) -> Result<(), RuleError> {
        let place = self.passwords.iter().position(|known| known.matches(&digest)).ok_or(RuleError::NoSuchPassword)?;
        self.passwords.remove(place);
        Ok(())
    }

    fn selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.others)
    }

    /// Whether it may do this.
    ///
    /// # Errors
    /// What it may not, of the selector that came closest to allowing it.
    pub fn check(&self, request: &Request<'_>) -> Result<(), Denied> {
        let mut closest = Denied::Command;
        for selector in self.selectors() {
            match selector.check(request) {
                Ok(()) => return Ok(()),
                Err(denied) => closest = closest.max(denied),
            }
        }
        Err(closest)
    }

    /// Whether it may run this command and read every key with it, whatever its name: what SORT's BY and GET need, which
    /// name keys that only the data tell.
    pub fn reads_all_keys_with(&self, command: CommandId, first_argument: Option<&[u8]>) -> bool {
        let reads = |selector: &Selector| selector.allows_command(command, first_argument) && selector.reads_all_keys();
        self.selectors().any(reads)
    }

    /// Whether it may listen to a channel, or by a pattern.
    pub fn may_listen(&self, name: &[u8], is_pattern: bool) -> bool {
        let channel = Channel { index: 0, name, is_pattern };
        self.selectors().any(|selector| selector.allows_channel(&channel))
    }

    /// What it is, as words: the flags of ACL GETUSER.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.is_on { "on" } else { "off" }];
        if self.no_password {
            flags.push("nopass");
        }
        match self.payloads {
            Payloads::NothingSaid => {}
            Payloads::Sanitized => flags.push("sanitize-payload"),
            Payloads::Skipped => flags.push("skip-sanitize-payload"),
        }
        flags
    }

    /// The digests of its passwords.
    pub fn passwords(&self) -> &[Digest] {
        &self.passwords
    }

    /// The selector that every user has.
    pub fn root(&self) -> &Selector {
        &self.root
    }

    /// The others.
    pub fn other_selectors(&self) -> &[Selector] {
        &self.others
    }

    /// Rules that make a new user the same.
    pub fn rules(&self) -> Vec<u8> {
        let mut parts: Vec<Vec<u8>> = self.flags().into_iter().map(|flag| flag.as_bytes().to_vec()).collect();
        parts.extend(self.passwords.iter().map(|digest| format!("#{digest}").into_bytes()));
        parts.push(self.root.rules());
        parts.extend(self.others.iter().map(|selector| [b"(", &*selector.rules(), b")"].concat()));
        parts.join(&b' ')
    }

    /// The user as a line of ACL LIST, of an ACL file, or of a configuration.
    pub fn line(&self) -> Vec<u8> {
        [b"user ", &*self.name, b" ", &self.rules()].concat()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{catalog, terms, user};
    use crate::{Key, Need};

    const READ: Need = Need { read: true, write: false };
    const WRITE: Need = Need { read: false, write: true };

    fn text(rules: &str) -> String {
        String::from_utf8(user(&catalog(), rules).rules()).unwrap()
    }

    /// What becomes of `name` with this first argument, on these keys.
    fn check(user: &User, name: &str, first: Option<&str>, keys: &[(&str, Need)]) -> Result<(), Denied> {
        let keys: Vec<Key<'_>> = keys
            .iter()
            .enumerate()
            .map(|(index, (name, need))| Key { index: index + 1, name: name.as_bytes(), need: *need })
            .collect();
        let command = catalog().find(name.as_bytes()).unwrap();
        let first_argument = first.map(str::as_bytes);
        user.check(&Request { command, is_free: false, first_argument, keys: &keys, channels: &[] })
    }

    #[test]
    fn a_user_is_told_in_the_rules_that_make_it() {
        let told = [
            ("", "off resetchannels -@all"),
            ("on nopass ~* &* +@all", "on nopass ~* &* +@all"),
            ("%R~a %W~b %RW~c %R~b", "off %R~a ~b ~c resetchannels -@all"),
            ("%R~* %W~*", "off ~* resetchannels -@all"),
            ("%RW~* ~a", "off %RW~* ~a resetchannels -@all"),
            ("+GET -Get +get", "off resetchannels -@all +get"),
            ("+config|get +config|set +config", "off resetchannels -@all +config"),
            ("-get", "off resetchannels -@all"),
            ("+@all +get -get +get", "off resetchannels +@all"),
            ("+@all -@dangerous +config|get", "off resetchannels +@all -@dangerous +config|get"),
            ("+select|0 +SELECT|1 +select|0", "off resetchannels -@all +select|0 +select|1"),
            ("+select +select|0", "off resetchannels -@all +select"),
            (
                "(~a +get) (%R~b &c +@all -set) allkeys",
                "off ~* resetchannels -@all (~a resetchannels -@all +get) (%R~b resetchannels &c +@all -set)",
            ),
            ("skip-sanitize-payload reset", "off sanitize-payload resetchannels -@all"),
        ];
        for (rules, expected) in told {
            assert_eq!(text(rules), expected, "{rules}");
            assert_eq!(text(expected), expected, "what is told of {rules} makes another user");
        }
    }

    #[test]
    fn wrong_rules_are_refused_in_redis_words() {
        let catalog = catalog();
        let refused = [
            ("+nosuch", RuleError::Unknown),
            ("+@nosuch", RuleError::Unknown),
            ("+", RuleError::Unknown),
            ("-select|0", RuleError::Unknown),
            ("+get|a|b", RuleError::Unknown),
            ("+config|nosuch", RuleError::Unknown),
            ("+config|get|x", RuleError::FirstArgumentOfSubcommand),
            ("+select|", RuleError::Syntax),
            ("%~a", RuleError::Syntax),
            ("%", RuleError::Syntax),
            ("%X~a", RuleError::Syntax),
            ("~a b", RuleError::Syntax),
            ("(on)", RuleError::Syntax),
            ("((~a))", RuleError::Syntax),
            ("(~a) +get)", RuleError::Syntax),
            (")", RuleError::Syntax),
            (" () ", RuleError::Syntax),
            ("<x", RuleError::NoSuchPassword),
            ("!zz", RuleError::BadDigest),
            ("(&* &a)", RuleError::AllChannelsAlready),
        ];
        for (rule, expected) in refused {
            assert_eq!(user(&catalog, "").apply(rule.as_bytes(), terms(&catalog)), Err(expected), "{rule}");
        }
        assert_eq!(user(&catalog, "~*").apply(b"~a", terms(&catalog)), Err(RuleError::AllKeysAlready));
    }

    #[test]
    fn passwords_are_told_apart_from_their_digests() {
        let catalog = catalog();
        let mut one = user(&catalog, "on >a >b >a");
        assert_eq!(one.passwords().len(), 2);
        assert!(one.lets_in(b"a") && one.lets_in(b"b") && !one.lets_in(b"c"));
        one.apply(b"<a", terms(&catalog)).unwrap();
        assert!(!one.lets_in(b"a"));
        one.apply(b"off", terms(&catalog)).unwrap();
        assert!(!one.lets_in(b"b"));
        assert!(user(&catalog, "on nopass").lets_in(b"anything"));
        assert!(!user(&catalog, "on").lets_in(b""));
    }

    #[test]
    fn one_selector_alone_has_to_allow_a_request() {
        let catalog = catalog();
        let one = user(&catalog, "(+@write ~w*) (+@read ~r* %R~x)");
        assert_eq!(check(&one, "set", None, &[("w", WRITE)]), Ok(()));
        assert_eq!(check(&one, "get", None, &[("r", READ)]), Ok(()));
        assert_eq!(check(&one, "get", None, &[("w", READ)]), Err(Denied::Key(1)));
        assert_eq!(check(&one, "select", None, &[]), Err(Denied::Command));
        let one = user(&catalog, "+mget ~key (+mget ~key ~other)");
        assert_eq!(check(&one, "mget", None, &[("other", READ), ("third", READ)]), Err(Denied::Key(2)));
    }

    #[test]
    fn what_only_looks_at_a_key_is_allowed_wherever_anything_is() {
        let catalog = catalog();
        let one = user(&catalog, "+get %R~r %W~w");
        assert_eq!(check(&one, "get", None, &[("r", Need::default()), ("w", Need::default())]), Ok(()));
        assert_eq!(check(&one, "get", None, &[("w", READ)]), Err(Denied::Key(1)));
        assert_eq!(check(&one, "get", None, &[("x", Need::default())]), Err(Denied::Key(1)));
    }

    #[test]
    fn a_first_argument_and_a_subcommand_can_be_all_that_is_allowed() {
        let catalog = catalog();
        let one = user(&catalog, "+select|a +config -config|set");
        assert_eq!(check(&one, "select", Some("A"), &[]), Ok(()));
        assert_eq!(check(&one, "select", Some("b"), &[]), Err(Denied::Command));
        assert_eq!(check(&one, "select", None, &[]), Err(Denied::Command));
        assert_eq!(check(&one, "config|get", None, &[]), Ok(()));
        assert_eq!(check(&one, "config|set", None, &[]), Err(Denied::Command));
        let one = user(&catalog, "+select|a -@connection");
        assert_eq!(check(&one, "select", Some("a"), &[]), Err(Denied::Command));
    }

    #[test]
    fn only_who_may_do_everything_is_unrestricted() {
        let catalog = catalog();
        assert!(User::new_default(terms(&catalog)).is_unrestricted());
        assert!(user(&catalog, "allkeys allchannels +@all -get +get").is_unrestricted());
        for rules in ["~* &* +@all -get", "~a &* +@all", "~* +@all", "(~* &* +@all)"] {
            assert!(!user(&catalog, rules).is_unrestricted(), "{rules}");
        }
    }

    #[test]
    fn who_listens_by_a_pattern_needs_that_very_pattern() {
        let one = user(&catalog(), "&a:* (&b)");
        assert!(one.may_listen(b"a:1", false) && one.may_listen(b"a:*", true) && one.may_listen(b"b", false));
        assert!(!one.may_listen(b"a:1", true) && !one.may_listen(b"c", false));
    }

    proptest! {
        #[test]
        fn whatever_was_said_is_told_so_that_it_allows_the_same(
            rules in proptest::collection::vec(
                prop_oneof![
                    "[+-](@all|@read|@string|@slow|get|set|mget|config|config\\|get|config\\|set)",
                    "\\+(select|publish)\\|[ab]",
                    "[~&][ab*]{0,2}",
                    "%(R|W|RW)~[ab*]{0,2}",
                    "reset(keys|channels)|on|off",
                ],
                0..12,
            )
        ) {
            let catalog = catalog();
            let mut one = user(&catalog, "");
            for rule in &rules {
                // What is refused changes nothing.
                let _ = one.apply(rule.as_bytes(), terms(&catalog));
            }
            let told = String::from_utf8(one.rules()).unwrap();
            let again = user(&catalog, &told);
            for name in ["get", "set", "mget", "select", "config|get", "config|set", "publish"] {
                for first in [None, Some("a"), Some("c")] {
                    for key in ["a", "b", "c"] {
                        for need in [READ, WRITE] {
                            let keys = [(key, need)];
                            prop_assert_eq!(check(&one, name, first, &keys), check(&again, name, first, &keys));
                        }
                    }
                }
            }
            for channel in [b"a".as_slice(), b"ab", b"*"] {
                prop_assert_eq!(one.may_listen(channel, true), again.may_listen(channel, true));
            }
        }
    }
}
