//! The effects on files and directories.

use super::{Live, rejoin};
use crate::error::{Error, Exit, sentence};
use crate::pg::conninfo::quote_value;
use crate::plan::parts::settings;
use crate::plan::{FileOp, Setting, ValuePart};
use crate::system::files;

impl Live<'_> {
    /// Changes files or directories.
    ///
    /// # Errors
    /// Exit code 5 if the system refuses it, 15 if a secret is no longer known.
    pub(crate) async fn file_op(&self, op: &FileOp) -> Result<(), Error> {
        let work: Box<dyn FnOnce() -> anyhow::Result<()> + Send> = match op {
            FileOp::MakeDirectory { path, mode } => {
                let (path, mode) = (path.clone(), *mode);
                Box::new(move || files::make_directory(&path, mode))
            }
            FileOp::ClearDirectory { path, keep } => {
                let (path, keep) = (path.clone(), keep.clone());
                Box::new(move || files::clear_directory(&path, &keep))
            }
            FileOp::RemoveDirectory { path } => {
                let path = path.clone();
                Box::new(move || files::remove_tree(&path))
            }
            FileOp::WriteFile { path, contents, mode } => {
                let (path, contents, mode) = (path.clone(), contents.clone(), *mode);
                Box::new(move || files::write(&path, contents.as_bytes(), mode))
            }
            FileOp::WriteSecretFile { path, secret, mode } => {
                let (path, contents, mode) = (path.clone(), self.secret(secret)?.reveal().to_string(), *mode);
                Box::new(move || files::write(&path, contents.as_bytes(), mode))
            }
            FileOp::RemoveFile { path } => {
                let path = path.clone();
                Box::new(move || files::remove_file(&path))
            }
            FileOp::WriteSettings { path, remove, set, mode } => {
                let mut pairs = Vec::new();
                for setting in set {
                    pairs.push((setting.name.clone(), self.value(setting)?));
                }
                let (path, remove, mode) = (path.clone(), remove.clone(), *mode);
                Box::new(move || {
                    let old = files::read(&path)?.unwrap_or_default();
                    let text = settings::rewrite(&old, &remove, &pairs)?;
                    files::rewrite(&path, &text, mode)
                })
            }
            FileOp::MoveEntries { from, to, first, last } => {
                let (from, to, first, last) = (from.clone(), to.clone(), first.clone(), last.clone());
                Box::new(move || files::move_entries(&from, &to, &first, &last))
            }
            FileOp::CopyFiles { from, to, files } => {
                let (from, to, files) = (from.clone(), to.clone(), files.clone());
                Box::new(move || rejoin::copy_files(&from, &to, &files))
            }
            FileOp::RestoreFiles { from, data_directory, files } => {
                let (from, data, files) = (from.clone(), data_directory.clone(), files.clone());
                Box::new(move || rejoin::restore_files(&from, &data, &files))
            }
            FileOp::Rename { from, to, link } => {
                let (from, to, link) = (from.clone(), to.clone(), link.clone());
                Box::new(move || rejoin::rename(&from, &to, link.as_deref()))
            }
            FileOp::SaveWal { data_directory, from, to } => {
                let (data, from, to) = (data_directory.clone(), *from, to.clone());
                Box::new(move || rejoin::save_wal(&data, from, &to))
            }
            FileOp::RestoreWal { kept, data_directory, until } => {
                let (kept, data, until) = (kept.clone(), data_directory.clone(), *until);
                Box::new(move || rejoin::restore_wal(&kept, &data, until))
            }
        };
        // On a thread of its own: emptying a large directory must not keep signals and deadlines waiting.
        let done = tokio::task::spawn_blocking(work).await;
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Error::new(Exit::LocalCommand, "a file operation failed")
                .detail(sentence(&format!("{error:#}")))),
            Err(error) => Err(Error::new(Exit::Internal, "a file operation was aborted")
                .detail(sentence(&error.to_string()))),
        }
    }

    /// Returns the text of a setting's value, secrets included.
    fn value(&self, setting: &Setting) -> Result<String, Error> {
        let mut out = String::new();
        for piece in &setting.value {
            match piece {
                ValuePart::Text(text) => out.push_str(text),
                ValuePart::Secret(name) => out.push_str(&quote_value(self.secret(name)?.reveal())),
            }
        }
        Ok(out)
    }
}
