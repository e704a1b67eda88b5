// SPDX-License-Identifier: Apache-2.0
//! Reads the fields of a SentencePiece model file (a protobuf, sentencepiece_model.proto) that
//! encoding and decoding depend on.

use crate::error::{TextResult, corrupt};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceType {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl PieceType {
    /// The numbering of both SentencePiece and GGUF.
    pub fn from_number(number: i64) -> Option<PieceType> {
        Some(match number {
            1 => PieceType::Normal,
            2 => PieceType::Unknown,
            3 => PieceType::Control,
            4 => PieceType::UserDefined,
            5 => PieceType::Unused,
            6 => PieceType::Byte,
            _ => return None,
        })
    }
}

#[derive(Clone, Debug)]
pub struct SentencePiece {
    pub text: String,
    pub score: f32,
    pub kind: PieceType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelType {
    Unigram,
    Bpe,
}

/// The contents, with the defaults of sentencepiece_model.proto.
#[derive(Debug)]
pub struct ModelFile {
    pub pieces: Vec<SentencePiece>,
    pub model_type: ModelType,
    pub byte_fallback: bool,
    pub whitespace_as_suffix: bool,
    pub unk_id: i64,
    pub bos_id: i64,
    pub eos_id: i64,
    pub pad_id: i64,
    pub charsmap: Vec<u8>,
    pub add_dummy_prefix: bool,
    pub remove_extra_whitespaces: bool,
    pub escape_whitespaces: bool,
}

impl ModelFile {
    pub fn parse(name: &str, bytes: &[u8]) -> TextResult<ModelFile> {
        let mut file = ModelFile {
            pieces: Vec::new(),
            model_type: ModelType::Unigram,
            byte_fallback: false,
            whitespace_as_suffix: false,
            unk_id: 0,
            bos_id: 1,
            eos_id: 2,
            pad_id: -1,
            charsmap: Vec::new(),
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
        };
        let mut reader = Reader { name, bytes, at: 0, base: 0 };
        while let Some((number, field)) = reader.field()? {
            match (number, field) {
                (1, Field::Bytes(mut piece)) => {
                    let piece = parse_piece(&mut piece, file.pieces.len())?;
                    file.pieces.push(piece);
                }
                (2, Field::Bytes(mut spec)) => file.parse_trainer(&mut spec)?,
                (3, Field::Bytes(mut spec)) => file.parse_normalizer(&mut spec)?,
                _ => {}
            }
        }
        if file.pieces.is_empty() {
            return Err(corrupt(format!("{name}: not a SentencePiece model: it has no pieces")));
        }
        Ok(file)
    }

    fn parse_trainer(&mut self, reader: &mut Reader) -> TextResult<()> {
        while let Some((number, field)) = reader.field()? {
            let Field::Number(value) = field else { continue };
            match number {
                3 => {
                    self.model_type = match value {
                        1 => ModelType::Unigram,
                        2 => ModelType::Bpe,
                        _ => {
                            let name = reader.name;
                            return Err(crate::error::unsupported(format!(
                                "{name}: SentencePiece model type {value}; unigram (1) and BPE (2) are supported"
                            )));
                        }
                    }
                }
                24 => self.whitespace_as_suffix = value != 0,
                35 => self.byte_fallback = value != 0,
                40 => self.unk_id = as_int32(value),
                41 => self.bos_id = as_int32(value),
                42 => self.eos_id = as_int32(value),
                43 => self.pad_id = as_int32(value),
                _ => {}
            }
        }
        Ok(())
    }

    fn parse_normalizer(&mut self, reader: &mut Reader) -> TextResult<()> {
        while let Some((number, field)) = reader.field()? {
            match (number, field) {
                (2, Field::Bytes(charsmap)) => self.charsmap = charsmap.bytes.to_vec(),
                (3, Field::Number(value)) => self.add_dummy_prefix = value != 0,
                (4, Field::Number(value)) => self.remove_extra_whitespaces = value != 0,
                (5, Field::Number(value)) => self.escape_whitespaces = value != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

/// int32 fields are stored sign-extended to 64 bits.
fn as_int32(value: u64) -> i64 {
    i64::from(value as u32 as i32)
}

fn parse_piece(reader: &mut Reader, index: usize) -> TextResult<SentencePiece> {
    let name = reader.name;
    let mut piece = SentencePiece { text: String::new(), score: 0.0, kind: PieceType::Normal };
    while let Some((number, field)) = reader.field()? {
        match (number, field) {
            (1, Field::Bytes(text)) => {
                piece.text = std::str::from_utf8(text.bytes)
                    .map_err(|_| corrupt(format!("{name}: piece {index} is not valid UTF-8")))?
                    .to_string();
            }
            (2, Field::Fixed32(bits)) => piece.score = f32::from_bits(bits),
            (3, Field::Number(value)) => {
                piece.kind = PieceType::from_number(value as i64)
                    .ok_or_else(|| corrupt(format!("{name}: piece {index} has type {value}")))?;
            }
            _ => {}
        }
    }
    if piece.score.is_nan() {
        return Err(corrupt(format!("{name}: the score of piece {index} is not a number")));
    }
    Ok(piece)
}

enum Field<'a> {
    Number(u64),
    Bytes(Reader<'a>),
    Fixed32(u32),
    Fixed64,
}

/// Walks one protobuf message; never reads past `bytes`.
struct Reader<'a> {
    name: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Where `bytes` starts in the file, for messages.
    base: usize,
}

impl<'a> Reader<'a> {
    /// The next field, or None at the end of the message.
    fn field(&mut self) -> TextResult<Option<(u64, Field<'a>)>> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Number(self.varint()?),
            1 => {
                self.take(8)?;
                Field::Fixed64
            }
            2 => {
                let size = self.varint()?;
                let base = self.base + self.at;
                let bytes = self.take(size)?;
                Field::Bytes(Reader { name: self.name, bytes, at: 0, base })
            }
            5 => {
                let bytes = self.take(4)?;
                Field::Fixed32(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            }
            wire => return Err(self.broken(&format!("wire type {wire}"))),
        };
        if key >> 3 == 0 {
            return Err(self.broken("field number 0"));
        }
        Ok(Some((key >> 3, field)))
    }

    fn varint(&mut self) -> TextResult<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.broken("a number of more than 64 bits"))
    }

    fn take(&mut self, size: u64) -> TextResult<&'a [u8]> {
        let rest = self.bytes.len() - self.at;
        if size > rest as u64 {
            return Err(self.broken(&format!("{size} bytes announced, {rest} left (truncated?)")));
        }
        let bytes = &self.bytes[self.at..self.at + size as usize];
        self.at += size as usize;
        Ok(bytes)
    }

    fn broken(&self, what: &str) -> crate::error::TextError {
        corrupt(format!(
            "{}: not a SentencePiece model: {what} at byte {}",
            self.name,
            self.base + self.at
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_minimal_model_is_read_with_the_defaults() {
        // pieces { piece: "ab" score: -1 type: USER_DEFINED } trainer_spec { model_type: BPE pad_id: -1 }
        let bytes = [
            0x0A, 11, 0x0A, 2, b'a', b'b', 0x15, 0, 0, 0x80, 0xBF, 0x18, 4, //
            0x12, 14, 0x18, 2, 0xD8, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1,
        ];
        let file = ModelFile::parse("x.model", &bytes[..bytes.len()]);
        let file = file.expect("parses");
        assert_eq!(file.pieces.len(), 1);
        assert_eq!((file.pieces[0].text.as_str(), file.pieces[0].score), ("ab", -1.0));
        assert_eq!(file.pieces[0].kind, PieceType::UserDefined);
        assert_eq!(file.model_type, ModelType::Bpe);
        assert_eq!((file.unk_id, file.pad_id), (0, -1));
        assert!(file.add_dummy_prefix && !file.byte_fallback);
    }

    #[test]
    fn lengths_beyond_the_file_are_an_error_with_the_place() {
        for bytes in
            [&[0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F][..], &[0x0A, 5, 1], &[0x0F], &[0x00, 0x00]]
        {
            let error = ModelFile::parse("x.model", bytes).expect_err("broken");
            assert_eq!(error.kind, ErrorKind::CorruptFile);
            assert!(error.message.contains("x.model"), "{}", error.message);
        }
    }
}
