/** LVM's text metadata, and what it says about extents; with LVM's own tools it is tested in test/real/allocation. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readLvmGroup } from '../../../agent/export/allocation/lvm-group.ts';
import { parseLvmText } from '../../../agent/export/allocation/lvm-text.ts';
import { toDisk, VolumeSource } from '../../../agent/export/allocation/lvm-volume.ts';
import { union } from '../../../agent/export/allocation/ranges.ts';
import { Inconsistent } from '../../../agent/export/allocation/source.ts';

const MIB = 1024 * 1024;
const EXTENT = 4 * MIB;
/** Of the physical volume on the disk. */
const START = 7 * MIB;

const VOLUMES = `
    root {
      id = "aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa"
      status = ["READ", "WRITE", "VISIBLE"]
      flags = []
      creation_time = 1795376532 # 2026-11-22 19:42:12 +0000
      segment_count = 2
      segment1 { start_extent = 0 extent_count = 10 type = "striped" stripe_count = 1 stripes = ["pv0", 0] }
      segment2 { start_extent = 10 extent_count = 5 type = "striped" stripe_count = 1 stripes = ["pv0", 20] }
    }
    data {
      id = "aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaab"
      status = ["READ", "WRITE", "VISIBLE"]
      flags = []
      segment_count = 1
      segment1 { start_extent = 0 extent_count = 6 type = "striped" stripe_count = 2 stripe_size = 128 stripes = ["pv0", 30, "pv0", 25] }
    }`;

function metadata(volumes: string): string {
  return `contents = "Text Format Volume Group"
version = 1
description = "a \\"quoted\\" \\\\ command"
creation_time = 1795376533
vg {
  id = "YAUhBb-heOY-hdJ3-UrMV-x6Hy-zlLs-wT9NvH"
  seqno = 9
  format = "lvm2" # informational
  status = ["RESIZEABLE", "READ", "WRITE"]
  flags = []
  extent_size = 8192
  physical_volumes {
    pv0 {
      id = "s1YH6s-SFE8-kRhp-2ruW-AmkA-O7NN-7G7JoM"
      status = ["ALLOCATABLE"]
      flags = []
      dev_size = 1048576
      pe_start = 2048
      pe_count = 127
    }
  }
  logical_volumes {${volumes}
  }
}
`;
}

function groupOf(text: string) {
  const label = {
    uuid: 's1YH6sSFE8kRhp2ruWAmkAO7NN7G7JoM',
    sizeBytes: 512 * MIB,
    own: [{ start: START, end: START + MIB }],
    text,
  };
  return readLvmGroup(label, START);
}

function place(extent: number): number {
  return START + MIB + extent * EXTENT;
}

describe('LVM text metadata', () => {
  it('reads sections, strings with escapes, numbers, lists and comments', () => {
    const root = parseLvmText('a = "x \\" \\\\ y"#c\nb{ c = -12 d=[ ]\n e = [ "1", 2 ] # { \n f { } }');
    assert.equal(root.values.get('a'), 'x " \\ y');
    const b = root.sections.get('b');
    assert.deepEqual(
      [...(b?.values ?? [])],
      [
        ['c', -12],
        ['d', []],
        ['e', ['1', 2]],
      ],
    );
    assert.deepEqual([...(b?.sections.keys() ?? [])], ['f']);
  });

  const wrong: Record<string, string> = {
    'a section without end': 'a {',
    'an end without section': '}',
    'a list without end': 'a = [ 1, 2',
    'a list with a hole': 'a = [ 1, , 2 ]',
    'a string without end': 'a = "x',
    'an unknown escape': 'a = "\\n"',
    'a name without value': 'a',
    'a name that stands twice': 'a = 1 a = 2',
    'a number that is too large': 'a = 99999999999999999',
    'a fraction': 'a = 1.5',
    'too many sections in each other': 'a {'.repeat(20) + '}'.repeat(20),
    'a very long comment': `#${'x'.repeat(10_000)}`,
    'a very long string': `a = "${'x'.repeat(1_000_000)}"`,
    'a million brackets': '{'.repeat(1_000_000),
  };
  for (const [name, text] of Object.entries(wrong)) {
    it(`refuses ${name}`, () => {
      assert.throws(() => parseLvmText(text), Inconsistent);
    });
  }

  it('reads much whitespace and many comments', () => {
    assert.equal(parseLvmText(`${' \n#x\n'.repeat(500_000)}a = 1`).values.get('a'), 1);
  });
});

describe('LVM volume groups', () => {
  it('knows extents of no volume and where the volumes lie', () => {
    const group = groupOf(metadata(VOLUMES));
    assert.deepEqual([...group.unallocated], [place(10), place(20), place(28), place(30), place(33), place(127)]);
    assert.deepEqual(
      group.volumes.map(({ name }) => name),
      ['root', 'data'],
    );
    assert.deepEqual(group.volumes[0]?.segments, [
      { start: 0, end: 10 * EXTENT, stripeBytes: 10 * EXTENT, stripes: [{ start: place(0), end: place(10) }] },
      {
        start: 10 * EXTENT,
        end: 15 * EXTENT,
        stripeBytes: 5 * EXTENT,
        stripes: [{ start: place(20), end: place(25) }],
      },
    ]);
  });

  const refused: Record<string, [string, string]> = {
    'an extent of two volumes': ['"pv0", 25]', '"pv0", 22]'],
    'an extent that a mirror may have as well': [
      'type = "striped" stripe_count = 2 stripe_size = 128 stripes = ["pv0", 30, "pv0", 25]',
      'type = "mirror" mirrors = ["pv0", 18, "pv0", 40]',
    ],
    'an extent that is not there': ['"pv0", 20]', '"pv0", 125]'],
    'another physical volume': ['s1YH6s', 's1YH6t'],
    'a missing physical volume': ['status = ["ALLOCATABLE"]\n      flags = []', 'flags = ["MISSING"]'],
    'a group that other machines share': ['seqno = 9', 'lock_type = "sanlock"'],
    'an unknown flag of the group': ['flags = []\n  extent_size', 'flags = ["NEW"]\n  extent_size'],
    'an unknown part of the group': ['logical_volumes {', 'other_volumes { } logical_volumes {'],
    'extents on the metadata': ['pe_start = 2048', 'pe_start = 1024'],
    'more extents than the physical volume has room for': ['pe_count = 127', 'pe_count = 128'],
    'an extent size of nothing': ['extent_size = 8192', 'extent_size = 0'],
    'another format': ['"lvm2"', '"lvm1"'],
    'a moving volume': ['"VISIBLE"]', '"VISIBLE", "LOCKED"]'],
  };
  for (const [name, [from, to]] of Object.entries(refused)) {
    it(`refuses ${name}`, () => {
      const text = metadata(VOLUMES);
      assert.ok(text.includes(from));
      assert.throws(() => groupOf(text.replace(from, to)), Inconsistent);
    });
  }

  const hidden: Record<string, [string, string]> = {
    'with an unknown state': ['"VISIBLE"]', '"VISIBLE", "NEW"]'],
    'with an unknown flag': ['flags = []\n      creation', 'flags = ["NEW"]\n      creation'],
    'with a segment that begins elsewhere': ['start_extent = 10', 'start_extent = 11'],
    'with a segment too few': ['segment_count = 2', 'segment_count = 3'],
    'with a segment of an unknown type': [
      'extent_count = 10 type = "striped"',
      'extent_count = 10 type = "striped+new"',
    ],
    'with something unknown in a segment': ['stripe_count = 1', 'new = 1 stripe_count = 1'],
    'that another one names': ['seqno', 'seqno'],
  };
  for (const [name, [from, to]] of Object.entries(hidden)) {
    it(`keeps a volume ${name}`, () => {
      const other = `x { status = ["READ"] segment_count = 1 segment1 { start_extent = 0 extent_count = 1 type = "new" of { a = ["root", 1] } } }`;
      const group = groupOf(metadata(name.startsWith('that') ? VOLUMES + other : VOLUMES).replace(from, to));
      assert.ok(!group.volumes.some((volume) => volume.name === 'root'));
      assert.ok(group.others.includes('root'));
      assert.deepEqual([...group.unallocated], [place(10), place(20), place(28), place(30), place(33), place(127)]);
    });
  }

  it('throws nothing but Inconsistent and stays within the extents on mutated metadata', () => {
    let state = 4711;
    const random = (below: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return (state >>> 8) % below;
    };
    const text = metadata(VOLUMES);
    const tokens = [
      '"pv0"',
      '0',
      '1',
      '-1',
      '127',
      '4294967296',
      '9007199254740991',
      '"root"',
      '[',
      ']',
      '{',
      '}',
      '=',
      '"',
      '#',
    ];
    let read = 0;
    for (let round = 0; round < 5000; round++) {
      let mutated = text;
      for (let i = 0; i <= random(3); i++) {
        const numbers = [...mutated.matchAll(/\d+|"\w+"|[[\]{}=]/g)];
        const at = numbers[random(numbers.length)];
        if (!at) continue;
        mutated = mutated.slice(0, at.index) + tokens[random(tokens.length)] + mutated.slice(at.index + at[0].length);
      }
      try {
        const { unallocated, volumes } = groupOf(mutated);
        read++;
        const all = [
          ...unallocated,
          ...volumes.flatMap(({ segments }) =>
            segments.flatMap(({ stripes }) => stripes.flatMap(({ start, end }) => [start, end])),
          ),
        ];
        for (const at of all) assert.ok(at >= place(0) && at <= START + 512 * MIB, `${at}`);
      } catch (error) {
        if (!(error instanceof Inconsistent)) throw error;
      }
    }
    assert.ok(read > 100, `${read} were read`);
  });
});

describe('LVM volumes', () => {
  const segments = [
    {
      start: 0,
      end: 48,
      stripeBytes: 8,
      stripes: [
        { start: 300, end: 324 },
        { start: 200, end: 224 },
      ],
    },
    { start: 48, end: 60, stripeBytes: 12, stripes: [{ start: 100, end: 112 }] },
  ];
  /** Where each byte of the volume lies, one by one. */
  const places = Array.from({ length: 60 }, (_, at) => {
    if (at >= 48) return 100 + at - 48;
    return ((at >> 3) % 2 === 0 ? 300 : 200) + (at >> 4) * 8 + (at & 7);
  });
  const disk = {
    sizeBytes: 400,
    sectorBytes: 512,
    read: (offset: number, length: number) => Buffer.from(Array.from({ length }, (_, i) => (offset + i) % 251)),
  };

  it('reads every range from where it lies', () => {
    const volume = new VolumeSource(disk, segments);
    assert.equal(volume.sizeBytes, 60);
    for (let from = 0; from <= 60; from++) {
      for (let to = from; to <= 60; to++) {
        assert.deepEqual(
          [...volume.read(from, to - from)],
          places.slice(from, to).map((at) => at % 251),
        );
      }
    }
    assert.throws(() => volume.read(50, 11), Inconsistent);
    assert.throws(() => volume.read(-1, 1), Inconsistent);
  });

  it('turns its ranges into ranges of the disk, sorted and joined', () => {
    for (let from = 0; from < 60; from++) {
      for (let to = from + 1; to <= 60; to++) {
        const ranges = to < 55 ? [from, to, 57, 59] : [from, to];
        const wanted = new Set(places.filter((_, at) => (at >= from && at < to) || (to < 55 && at >= 57 && at < 59)));
        const result = toDisk(segments, Float64Array.from(ranges));
        const bytes: number[] = [];
        for (let i = 0; i < result.length; i += 2) {
          for (let at = result[i] ?? 0; at < (result[i + 1] ?? 0); at++) bytes.push(at);
          assert.ok(i === 0 || (result[i] ?? 0) > (result[i - 1] ?? 0), 'joined');
        }
        assert.deepEqual(
          bytes,
          [...wanted].sort((a, b) => a - b),
        );
      }
    }
  });

  it('joins two lists of ranges', () => {
    const list = (...values: number[]) => Float64Array.from(values);
    assert.deepEqual([...union(list(0, 5, 10, 15), list(5, 7, 20, 25))], [0, 7, 10, 15, 20, 25]);
    assert.deepEqual([...union(list(0, 100), list(5, 7, 99, 105))], [0, 105]);
    assert.deepEqual([...union(list(), list(5, 7))], [5, 7]);
  });
});
