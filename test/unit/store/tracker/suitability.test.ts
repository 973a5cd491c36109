import test from 'ava'
import { type Circumstances, kernelHas, reasonAgainst } from '../../../../agent/store/tracker/suitability.ts'

const mount = (options: string) =>
  '27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n' +
  `60 27 7:3 /state /var/lib/wherry rw,noatime shared:5 - ext4 /dev/loop3 ${options}\n`
const GOOD: Circumstances = {
  fileSystem: 'ext4',
  major: 7,
  minor: 3,
  mounts: mount('rw,data=ordered'),
  isDaxDisk: false,
  hasBtf: true,
  hasObject: true,
}

test('nothing speaks against ext4 and XFS on a disk', (t) => {
  t.is(reasonAgainst(GOOD), null)
  t.is(reasonAgainst({ ...GOOD, fileSystem: 'xfs', mounts: mount('rw,attr2,inode64,noquota') }), null)
})

const REASONS: readonly [string, Partial<Circumstances>, RegExp][] = [
  ['a file system that is not proven', { fileSystem: 'btrfs' }, /The file system is btrfs; .* ext4 and XFS only/],
  ['data=journal', { mounts: mount('rw,data=journal') }, /data=journal/],
  ['a DAX mount', { fileSystem: 'xfs', mounts: mount('rw,dax=always') }, /DAX/],
  ['an old DAX mount', { mounts: mount('rw,dax') }, /DAX/],
  ['a disk where single files may be DAX', { isDaxDisk: true }, /DAX/],
  ['a kernel without BTF', { hasBtf: false }, /CONFIG_DEBUG_INFO_BTF/],
  ['an object that was not built', { hasObject: false }, /build-tracker/],
  ['a mount that is not listed', { minor: 4 }, /mountinfo/],
]
for (const [what, difference, expected] of REASONS) {
  test(`there is no tracker, and a plain reason, with ${what}`, (t) => {
    t.regex(reasonAgainst({ ...GOOD, ...difference }) ?? '', expected)
  })
}

test('a DAX disk whose mount says that no file is DAX will do', (t) => {
  t.is(reasonAgainst({ ...GOOD, isDaxDisk: true, mounts: mount('rw,dax=never') }), null)
})

test('the options of another mount do not count', (t) => {
  t.is(reasonAgainst({ ...GOOD, mounts: `${mount('rw')}61 27 7:4 / /x rw - ext4 /dev/loop4 rw,data=journal\n` }), null)
})

test('which functions the kernel has is read from its own description', (t) => {
  t.true(kernelHas('truncate_inode_pages_range', 'ext4'))
  t.false(kernelHas('truncate_inode_pages_rang', 'ext4'))
})
