import test from 'ava'
import { parseMountInfo, readMounts } from '../../../agent/sys/mounts.ts'

test('mount points with spaces, newlines, backslashes and UTF-8 are read as they are', (t) => {
  const text = [
    '36 35 98:0 /a\\040b /mnt/x\\012y\\134z rw,noatime master:1 shared:7 - ext4 /dev/my\\011disk rw,errors=continue',
    `37 35 0:5 / ${Buffer.from('/mnt/ä').toString('latin1')} rw - proc proc rw`,
    'garbage',
    '',
  ].join('\n')
  t.deepEqual(parseMountInfo(text), [
    { root: '/a b', mountpoint: '/mnt/x\ny\\z', fsType: 'ext4', source: '/dev/my\tdisk' },
    { root: '/', mountpoint: '/mnt/ä', fsType: 'proc', source: 'proc' },
  ])
})

test('the mounts of this process include /proc', async (t) => {
  t.true((await readMounts()).some(({ mountpoint, fsType }) => mountpoint === '/proc' && fsType === 'proc'))
})
