//! `context add|use|list|remove`: which controllers there are and how to reach them.

use std::path::{Path, PathBuf};

use crate::cli::{AddContext, ContextCommand};
use crate::connect;
use crate::context::{self, Context, Contexts, Identity};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::view::{Done, KnownContexts};

pub(super) fn run(command: ContextCommand, output: Output) -> Outcome<()> {
    let folder = context::folder()?;
    let mut contexts = Contexts::load(&folder)?;
    match command {
        ContextCommand::Add(args) => {
            let name = args.name.clone();
            context::check_name(&name)?;
            contexts.contexts.insert(name.clone(), added(args)?);
            contexts.current.get_or_insert_with(|| name.clone());
            contexts.save(&folder)?;
            output.show(&Done::new("added", name))
        }
        ContextCommand::Use { name } => {
            contexts.named(&name)?;
            contexts.current = Some(name.clone());
            contexts.save(&folder)?;
            output.show(&Done::new("in use", name))
        }
        ContextCommand::List => output.show(&KnownContexts::of(&contexts)),
        ContextCommand::Remove { name } => {
            contexts.named(&name)?;
            contexts.contexts.remove(&name);
            contexts.current.take_if(|current| *current == name);
            contexts.save(&folder)?;
            output.show(&Done::new("removed", name))
        }
    }
}

fn added(args: AddContext) -> Outcome<Context> {
    connect::check_address(&args.at)?;
    let files = [args.ca, args.cert, args.key].into_iter().flatten().map(|path| whole(&path));
    let files: Vec<PathBuf> = files.collect::<Outcome<_>>()?;
    let identity = match <[PathBuf; 3]>::try_from(files) {
        Ok([ca_file, cert_file, key_file]) => {
            Some(Identity { ca_file, cert_file, key_file, server_name: args.server_name })
        }
        Err(_fewer) => None,
    };
    if identity.is_none() && connect::socket(&args.at).is_none() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{} needs a certificate", args.at),
            "add --ca, --cert and --key; `rekeyctl admin add` makes them",
        ));
    }
    Ok(Context { controller: args.at, identity })
}

/// A path that means the same wherever it is used from.
fn whole(path: &Path) -> Outcome<PathBuf> {
    let cannot = |path: &Path, error| Failure::local(format!("cannot find {}", path.display()), &error);
    let whole = std::path::absolute(path).map_err(|error| cannot(path, error))?;
    if whole.is_file() {
        return Ok(whole);
    }
    Err(Failure::new(Exit::NotFound, format!("there is no file {}", whole.display()), ""))
}
