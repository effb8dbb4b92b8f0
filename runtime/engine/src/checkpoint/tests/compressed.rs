//! Compressed checkpoints: what is written is read, and what is damaged or made up is refused.

use hcrun_protocol::model::Segment;
use proptest::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use super::super::compressed::{decode, encode};
use super::super::write::write_compressed_with;
use super::*;
use crate::compress::{Bits, Packed, Settings, Share, compress, restore_arena};

fn settings(quantize: Option<Bits>, prune: f64) -> Settings {
    Settings { quantize, prune: Share::new(prune) }
}

/// Each way of packing, pruned or not.
fn all_settings() -> Vec<Settings> {
    let quantize = [Some(Bits::Int8), Some(Bits::Int4), None];
    let pairs = quantize.into_iter().flat_map(|bits| [0.0, 0.5, 0.95].map(|prune| settings(bits, prune)));
    pairs.collect()
}

/// Matrices of odd sizes and of one that is all zeros, a vector between them; normal draws.
fn segments() -> Vec<Segment> {
    let shapes: [(&str, &[usize]); 4] =
        [("a.weight", &[37, 29]), ("a.bias", &[37]), ("b.weight", &[5, 3]), ("zero.weight", &[9, 9])];
    let mut offset = 0;
    let segment = |(name, shape): (&str, &[usize])| {
        let segment = Segment { name: name.into(), offset, shape: shape.to_vec(), decay: shape.len() > 1 };
        offset += segment.elems();
        segment
    };
    shapes.map(segment).into()
}

const ARENA: usize = 2_048;

#[expect(clippy::cast_possible_truncation, reason = "test data is rounded to f32")]
fn arena() -> Vec<f32> {
    let mut prng = hcrun_protocol::Prng::new(7);
    let zeros = 37 * 29 + 37 + 5 * 3;
    (0..ARENA).map(|index| if index < zeros { prng.normal() as f32 } else { 0.0 }).collect()
}

fn packed(settings: &Settings) -> (Vec<Packed>, Vec<f32>) {
    let packed = compress(&segments(), &arena(), settings).unwrap();
    let restored = restore_arena(&segments(), &packed, ARENA);
    (packed, restored)
}

fn written(folder: &Path, settings: &Settings) -> (PathBuf, Vec<f32>) {
    let source = write(folder, &checkpoint(3), KEEP).unwrap().path;
    let Checkpoint { meta, model, params, .. } = load(&source).unwrap();
    let profile = model.spec().unwrap().profile();
    let packed = compress(&profile.segments, &params, settings).unwrap();
    let out = folder.join("step-3-small");
    let written = write_compressed(&out, &source, &meta, &model, &packed, settings).unwrap();
    (written.path, restore_arena(&profile.segments, &packed, profile.arena_elems))
}

#[test]
fn what_is_packed_is_restored_to_the_bit() {
    for settings in all_settings() {
        let (packed, restored) = packed(&settings);
        let (bytes, compression) = encode(&packed, &settings);
        assert_eq!(decode(&bytes, &compression, &segments(), ARENA).unwrap(), restored, "{settings:?}");
        let bias = 37 * 29..37 * 30;
        assert_eq!(restored[bias.clone()], arena()[bias], "biases stay");
        if settings.quantize.is_none() {
            assert!(restored.iter().zip(arena()).all(|(new, old)| *new == old || *new == 0.0));
        }
        if let Some(share) = settings.prune {
            let zeros = restored[..37 * 29].iter().filter(|value| **value == 0.0).count();
            let pruned = 37 * 29 * usize::try_from(share.millionths()).unwrap() / 1_000_000;
            assert!(zeros >= pruned, "{settings:?}: {zeros} of {pruned}");
        }
    }
}

#[test]
fn types_are_standard_and_a_mask_is_there_where_it_is_smaller() {
    for (settings, dtype, sparse) in [
        (settings(Some(Bits::Int8), 0.0), Dtype::I8, false),
        (settings(Some(Bits::Int4), 0.0), Dtype::U8, false),
        (settings(Some(Bits::Int4), 0.05), Dtype::U8, false),
        (settings(Some(Bits::Int8), 0.5), Dtype::I8, true),
        (settings(Some(Bits::Int4), 0.95), Dtype::U8, true),
        (settings(None, 0.5), Dtype::F32, true),
    ] {
        let (packed, _) = packed(&settings);
        let (bytes, compression) = encode(&packed, &settings);
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(tensors.tensor("a.weight").unwrap().dtype(), dtype, "{settings:?}");
        assert_eq!(tensors.tensor("a.weight.mask").is_ok(), sparse, "{settings:?}");
        assert_eq!(compression.tensors["a.weight"].sparse, sparse);
        let scales = tensors.tensor("a.weight.scale").map(|scales| scales.dtype());
        assert_eq!(scales.ok(), settings.quantize.map(|_| Dtype::BF16));
        assert_eq!(tensors.tensor("a.bias").unwrap().dtype(), Dtype::F32);
        assert!(!compression.tensors.contains_key("a.bias"));
    }
}

#[test]
fn matrices_become_as_small_as_their_bits_promise() {
    for (bits, ratio) in [(Bits::Int8, 3.9), (Bits::Int4, 7.0)] {
        let settings = settings(Some(bits), 0.0);
        let (packed, _) = packed(&settings);
        let (_, compression) = encode(&packed, &settings);
        let entry = &compression.tensors["a.weight"];
        let found = (37 * 29 * 4) as f64 / entry.bytes as f64;
        assert!(!entry.sparse && found >= ratio, "{bits:?}: {found}");
    }
}

#[test]
fn a_compressed_checkpoint_is_for_predictions_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (path, restored) = written(folder.path(), &settings(Some(Bits::Int8), 0.0));
    let model = load_model(&path).unwrap();
    assert_eq!((&model.params, &model.model), (&restored, &checkpoint(3).model));
    assert_eq!(model.compression.unwrap().quantize, Some(Bits::Int8));
    assert!(matches!(load(&path), Err(LoadError::Compressed { .. })));

    let source = fs::read(folder.path().join("step-3/MANIFEST.json")).unwrap();
    let small = fs::read(path.join("MANIFEST.json")).unwrap();
    assert_eq!(Manifest::open(&small).unwrap().parent, Some(Manifest::open(&source).unwrap().digest()));
    assert!(String::from_utf8(source).unwrap().contains("\"schema\": 1"), "older programs read it");

    // Beside the run's checkpoints it is none of them; in the place of one it is passed over.
    assert_eq!(found_step(folder.path()), Some(3));
    fs::rename(&path, folder.path().join("step-4")).unwrap();
    let found = latest_good(folder.path()).unwrap();
    assert_eq!(found.checkpoint, checkpoint(3));
    assert!(matches!(found.skipped[0].reason, LoadError::Compressed { .. }));
    // A checkpoint that is not compressed is a model too.
    assert_eq!(load_model(&found.path).unwrap().params, checkpoint(3).params);
}

#[test]
fn a_folder_that_is_there_is_kept_and_an_empty_one_used() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(Some(Bits::Int4), 0.0);
    let (path, restored) = written(folder.path(), &settings);
    let Checkpoint { meta, model, params, .. } = checkpoint(3);
    let profile = model.spec().unwrap().profile();
    let packed = compress(&profile.segments, &params, &settings).unwrap();
    let source = folder.path().join("step-3");
    let again = |out: &Path| write_compressed(out, &source, &meta, &model, &packed, &settings);
    for out in [&path, &source] {
        let error = again(out).unwrap_err();
        assert!(matches!(error, WriteError::Io { operation: "renaming", .. }), "{error}");
    }
    assert_eq!(load_model(&path).unwrap().params, restored);
    assert_eq!(load(&source).unwrap(), checkpoint(3));
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    again(&empty).unwrap();
    assert_eq!(load_model(&empty).unwrap().params, restored);
    assert!(!names(folder.path()).iter().any(|name| name.contains(".tmp-")), "{:?}", names(folder.path()));
}

/// A crash after any operation leaves a whole one or none.
#[test]
fn a_compressed_checkpoint_is_there_whole_or_not_at_all() {
    let settings = settings(Some(Bits::Int8), 0.5);
    for mode in [Mode::Crash, Mode::Full] {
        for left in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let source = write(folder.path(), &checkpoint(3), KEEP).unwrap().path;
            let Checkpoint { meta, model, params, .. } = checkpoint(3);
            let profile = model.spec().unwrap().profile();
            let packed = compress(&profile.segments, &params, &settings).unwrap();
            let out = folder.path().join("small");
            let mut files = Failing::new(left, mode);
            let result = write_compressed_with(&mut files, &out, &source, &meta, &model, &packed, &settings);
            files.lose_unsynced();
            let restored = restore_arena(&profile.segments, &packed, profile.arena_elems);
            if out.exists() {
                assert_eq!(load_model(&out).unwrap().params, restored, "{left}");
            } else {
                assert!(result.is_err(), "{left}: acknowledged and not there");
            }
            assert_eq!(load(&source).unwrap(), checkpoint(3));
            if !files.failed {
                assert!(left > 6 && result.is_ok(), "only {left} operations");
                break;
            }
        }
    }
}

/// Every byte of every file counts.
#[test]
fn a_changed_byte_anywhere_is_found_and_its_file_named() {
    let folder = tempfile::tempdir().unwrap();
    let (path, restored) = written(folder.path(), &settings(Some(Bits::Int4), 0.5));
    for name in ["model.safetensors", "model.json", "MANIFEST.json"] {
        let file = path.join(name);
        let whole = fs::read(&file).unwrap();
        for index in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[index] ^= 1 << (index % 8);
            fs::write(&file, &bytes).unwrap();
            match load_model(&path) {
                // The manifest's own blanks mean nothing.
                Ok(model) => assert!(name == "MANIFEST.json" && model.params == restored, "{name} {index}"),
                Err(error) => {
                    let (text, damaged) = (error.to_string(), matches!(error, LoadError::Damaged { .. }));
                    assert!(name == "MANIFEST.json" || damaged && text.contains(name), "{index}: {text}");
                }
            }
        }
        fs::write(&file, &whole[..whole.len() - 3]).unwrap();
        assert!(load_model(&path).is_err(), "{name} is cut off");
        fs::remove_file(&file).unwrap();
        let error = load_model(&path).unwrap_err();
        assert!(matches!(&error, LoadError::Missing { file, .. } if file == name), "{error}");
        fs::write(&file, &whole).unwrap();
    }
    assert_eq!(load_model(&path).unwrap().params, restored);
}

/// What its writer's digests hide: lengths, masks and entries that do not fit each other.
#[test]
fn what_does_not_fit_is_refused_by_name() {
    let settings = settings(Some(Bits::Int4), 0.5);
    let (packed, _) = packed(&settings);
    let (bytes, compression) = encode(&packed, &settings);
    let refusal = |change: &dyn Fn(&mut super::super::PackedEntry)| {
        let mut compression = compression.clone();
        change(compression.tensors.get_mut("a.weight").unwrap());
        decode(&bytes, &compression, &segments(), ARENA).unwrap_err().to_string()
    };
    for (refusal, expected) in [
        (refusal(&|entry| entry.shape = vec![29, 37]), "the manifest says [29, 37], the model [37, 29]"),
        (refusal(&|entry| entry.block = Some(0)), "it has codes and no block"),
        (
            refusal(&|entry| entry.block = Some(1)),
            "tensor `a.weight.scale` is BF16 [9], expected BF16 [1073]",
        ),
        (refusal(&|entry| entry.encoding = Encoding::Int8), "tensor `a.weight` is U8"),
        (refusal(&|entry| entry.encoding = Encoding::F32), "tensors, "),
    ] {
        assert!(refusal.contains(expected), "{refusal}");
    }
    // A bit more in a mask is a weight more than there are codes.
    let mask = SafeTensors::deserialize(&bytes).unwrap().tensor("a.weight.mask").unwrap().data().to_vec();
    let at = bytes.windows(mask.len()).position(|window| window == mask).unwrap();
    let mut more = bytes.clone();
    more[at..at + 8].fill(0xff);
    let error = decode(&more, &compression, &segments(), ARENA).unwrap_err().to_string();
    assert!(error.contains("`a.weight`"), "{error}");
    let mut beyond = bytes.clone();
    beyond[at + mask.len() - 1] |= 0x80;
    let error = decode(&beyond, &compression, &segments(), ARENA).unwrap_err().to_string();
    assert!(error.contains("its mask has bits beyond 1073 weights"), "{error}");
    // A scale that is infinite.
    let scale = SafeTensors::deserialize(&bytes).unwrap().tensor("a.weight.scale").unwrap().data().to_vec();
    let at = bytes.windows(scale.len()).position(|window| window == scale).unwrap();
    let mut infinite = bytes.clone();
    infinite[at..at + 2].copy_from_slice(&0x7f80u16.to_le_bytes());
    let error = decode(&infinite, &compression, &segments(), ARENA).unwrap_err().to_string();
    assert_eq!(error, "tensor `a.weight` is packed wrongly: a weight is not finite");
}

proptest! {
    /// Without the digests in between: any bytes and any entries are survived.
    #[test]
    fn any_bytes_are_read_or_refused(
        which in 0usize..9,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
        block in prop::option::of(prop_oneof![Just(0usize), Just(1), Just(32), Just(usize::MAX)]),
        sparse in prop::option::of(any::<bool>()),
        shape in prop::option::of(prop_oneof![Just(vec![0usize]), Just(vec![usize::MAX, 2]), Just(vec![])]),
    ) {
        let settings = all_settings()[which];
        let (packed, restored) = packed(&settings);
        let (mut bytes, mut compression) = encode(&packed, &settings);
        let untouched = flips.iter().all(|(_, flip)| *flip == 0)
            && cut.is_none() && block.is_none() && sparse.is_none() && shape.is_none();
        for (at, flip) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let entry = compression.tensors.get_mut("a.weight").unwrap();
        entry.block = block.map_or(entry.block, Some);
        entry.sparse = sparse.unwrap_or(entry.sparse);
        entry.shape = shape.unwrap_or_else(|| entry.shape.clone());
        match decode(&bytes, &compression, &segments(), ARENA) {
            Ok(arena) => {
                prop_assert_eq!(arena.len(), ARENA);
                prop_assert!(arena.iter().all(|value| value.is_finite()));
                prop_assert!(!untouched || arena == restored);
            }
            Err(error) => prop_assert!(!untouched, "{}", error),
        }
    }
}
