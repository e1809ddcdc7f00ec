//! Puts mutants into a source file, each behind its number.

use proc_macro2::Span;
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{BinOp, Block, Expr, Item, ItemFn, ReturnType, Stmt, Type, UnOp, parse_quote};

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Mutant {
    pub number: u32,
    pub file: String,
    pub line: usize,
    pub function: String,
    pub what: String,
}

/// All mutants of all files.
#[derive(Debug, Default)]
pub struct Plant {
    pub mutants: Vec<Mutant>,
    file: String,
    function: Vec<String>,
    constant: bool,
}

impl Plant {
    /// The file's text with its mutants.
    pub fn file(&mut self, name: &str, text: &str) -> Result<String, syn::Error> {
        self.file = name.to_owned();
        let mut file = syn::parse_file(text)?;
        self.visit_file_mut(&mut file);
        Ok(file.into_token_stream().to_string())
    }

    fn number(&mut self, at: Span, what: String) -> u32 {
        let number = u32::try_from(self.mutants.len()).unwrap_or(u32::MAX) + 1;
        let function = self.function.last().cloned().unwrap_or_default();
        self.mutants.push(Mutant { number, file: self.file.clone(), line: at.start().line, function, what });
        number
    }

    fn plants(&self) -> bool {
        !self.constant && !self.function.is_empty()
    }

    /// A function that does nothing and says the simplest.
    fn body(&mut self, name: &str, output: &ReturnType, block: &mut Block, at: Span) {
        self.function.push(name.to_owned());
        visit_mut::visit_block_mut(self, block);
        for value in simplest(output) {
            let number =
                self.number(at, format!("returns {} at once", if value.is_empty() { "()" } else { value }));
            let value: proc_macro2::TokenStream = value.parse().expect("a value");
            block.stmts.insert(0, parse_quote!(if crate::mutant(#number) { return #value; }));
        }
        self.function.pop();
    }
}

/// What a function of this type could say instead.
fn simplest(output: &ReturnType) -> &'static [&'static str] {
    let ReturnType::Type(_, output) = output else { return &[""] };
    match output.to_token_stream().to_string().replace(' ', "").as_str() {
        "bool" => &["true", "false"],
        text if text.starts_with("Option<") => &["None"],
        text if text.starts_with("Vec<") => &["Vec::new()"],
        "String" => &["String::new()"],
        "Duration" => &["Duration::ZERO"],
        "u64" | "u32" => &["0"],
        _ => &[],
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let text = attribute.to_token_stream().to_string();
        text.contains("test")
    })
}

fn other(operator: &BinOp) -> Option<BinOp> {
    Some(match operator {
        BinOp::Eq(_) => parse_quote!(!=),
        BinOp::Ne(_) => parse_quote!(==),
        BinOp::Lt(_) => parse_quote!(<=),
        BinOp::Le(_) => parse_quote!(<),
        BinOp::Gt(_) => parse_quote!(>=),
        BinOp::Ge(_) => parse_quote!(>),
        BinOp::And(_) => parse_quote!(||),
        BinOp::Or(_) => parse_quote!(&&),
        BinOp::Add(_) => parse_quote!(-),
        BinOp::Sub(_) => parse_quote!(+),
        BinOp::AddAssign(_) => parse_quote!(-=),
        BinOp::BitOrAssign(_) => parse_quote!(&=),
        BinOp::BitAndAssign(_) => parse_quote!(|=),
        _ => return None,
    })
}

/// `if let` and its chains bind names: their operands cannot be doubled.
fn binds(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(binary) => binds(&binary.left) || binds(&binary.right),
        Expr::Paren(inner) => binds(&inner.expr),
        _ => false,
    }
}

impl VisitMut for Plant {
    fn visit_item_mut(&mut self, item: &mut Item) {
        match item {
            Item::Fn(ItemFn { attrs, .. }) | Item::Mod(syn::ItemMod { attrs, .. }) if is_test(attrs) => {}
            Item::Const(_) | Item::Static(_) => {}
            Item::Fn(function) if function.sig.constness.is_none() => {
                let (name, at) = (function.sig.ident.to_string(), function.sig.span());
                self.body(&name, &function.sig.output, &mut function.block, at);
            }
            Item::Fn(_) => {}
            _ => visit_mut::visit_item_mut(self, item),
        }
    }

    fn visit_impl_item_fn_mut(&mut self, function: &mut syn::ImplItemFn) {
        if is_test(&function.attrs) || function.sig.constness.is_some() {
            return;
        }
        let (name, at) = (function.sig.ident.to_string(), function.sig.span());
        // How a thing is shown is no decision.
        if name == "fmt" {
            return;
        }
        self.body(&name, &function.sig.output, &mut function.block, at);
    }

    fn visit_impl_item_const_mut(&mut self, _: &mut syn::ImplItemConst) {}

    fn visit_macro_mut(&mut self, _: &mut syn::Macro) {}

    fn visit_type_mut(&mut self, _: &mut Type) {}

    fn visit_stmt_mut(&mut self, statement: &mut Stmt) {
        let at = statement.span();
        let shown = shorten(&statement.to_token_stream().to_string());
        visit_mut::visit_stmt_mut(self, statement);
        let Stmt::Expr(expression, Some(_)) = &statement else { return };
        let removable = match expression {
            Expr::MethodCall(_) | Expr::Call(_) => true,
            Expr::Assign(assign) => matches!(*assign.left, Expr::Field(_) | Expr::Unary(_)),
            _ => false,
        };
        if removable && self.plants() {
            let number = self.number(at, format!("without `{shown}`"));
            *statement = parse_quote!(if !crate::mutant(#number) { #statement });
        }
    }

    fn visit_expr_mut(&mut self, expression: &mut Expr) {
        let at = expression.span();
        let shown = shorten(&expression.to_token_stream().to_string());
        visit_mut::visit_expr_mut(self, expression);
        if !self.plants() {
            return;
        }
        match expression {
            Expr::Binary(binary) if !binds(&binary.left) && !binds(&binary.right) => {
                let Some(operator) = other(&binary.op) else { return };
                let what =
                    format!("`{}` for `{}` in `{shown}`", quote!(#operator), binary.op.to_token_stream());
                let arithmetic = matches!(binary.op, BinOp::Add(_) | BinOp::Sub(_));
                // Texts and times: not every type that adds can subtract.
                if arithmetic && !subtracts(&binary.right) {
                    return;
                }
                let number = self.number(at, what);
                // At the begin of a block an `if` would be a statement, and end there.
                if matches!(*binary.left, Expr::If(_) | Expr::Match(_) | Expr::Block(_)) {
                    let left = &binary.left;
                    *binary.left = parse_quote!((#left));
                }
                let (left, right, as_it_is) = (&binary.left, &binary.right, &*binary);
                *expression =
                    parse_quote!((if crate::mutant(#number) { #left #operator #right } else { #as_it_is }));
            }
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_)) => {
                let number = self.number(at, format!("without `!` in `{shown}`"));
                let inner = &unary.expr;
                *expression = parse_quote!((if crate::mutant(#number) { #inner } else { !(#inner) }));
            }
            _ => {}
        }
    }

    fn visit_arm_mut(&mut self, arm: &mut syn::Arm) {
        visit_mut::visit_arm_mut(self, arm);
        if let Some((_, guard)) = &mut arm.guard
            && !binds(guard)
            && self.plants()
        {
            let shown = shorten(&guard.to_token_stream().to_string());
            let never = self.number(guard.span(), format!("never `if {shown}`"));
            let always = self.number(guard.span(), format!("always `if {shown}`"));
            **guard = parse_quote!(crate::mutant(#always) || (!crate::mutant(#never) && (#guard)));
        }
    }

    fn visit_expr_if_mut(&mut self, branch: &mut syn::ExprIf) {
        visit_mut::visit_expr_if_mut(self, branch);
        let plain = matches!(
            *branch.cond,
            Expr::Path(_) | Expr::MethodCall(_) | Expr::Field(_) | Expr::Call(_) | Expr::Macro(_)
        );
        if plain && self.plants() {
            let shown = shorten(&branch.cond.to_token_stream().to_string());
            let number = self.number(branch.cond.span(), format!("`if !{shown}`"));
            let condition = &branch.cond;
            *branch.cond = parse_quote!(crate::mutant(#number) != (#condition));
        }
    }
}

/// Whether `a + this` can be `a - this`: a time or a number, not a text.
fn subtracts(right: &Expr) -> bool {
    !matches!(right, Expr::Reference(_) | Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(_), .. }))
}

fn shorten(text: &str) -> String {
    let plain = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let plain = plain
        .replace(" . ", ".")
        .replace(" (", "(")
        .replace("( ", "(")
        .replace(" )", ")")
        .replace(" :: ", "::")
        .replace(" ,", ",");
    if plain.chars().count() > 90 { plain.chars().take(88).collect::<String>() + ".." } else { plain }
}
