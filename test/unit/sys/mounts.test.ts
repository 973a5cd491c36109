import test from 'ava'
import { parseMountInfo, readMounts } from '../../../agent/sys/mounts.ts'

test('mount points with spaces, newlines, backslashes and UTF-8 are read as they are', (t) => {
  const text = [
    '36 35 98:0 /a\\040b /mnt/x\\012y\\134z rw,noatime master:1 shared:7 - ext4 /dev/my\\011disk rw,errors=continue',
    `37 35 0:5 / ${Buffer.from('/mnt/ä').toString('latin1')} ro,noexec - proc proc rw`,
    'garbage',
    '',
  ].join('\n')
  t.deepEqual(parseMountInfo(text), [
    {
      id: 36,
      parent: 35,
      device: '98:0',
      root: '/a b',
      mountpoint: '/mnt/x\ny\\z',
      isReadOnly: false,
      fsType: 'ext4',
      source: '/dev/my\tdisk',
    },
    {
      id: 37,
      parent: 35,
      device: '0:5',
      root: '/',
      mountpoint: '/mnt/ä',
      isReadOnly: true,
      fsType: 'proc',
      source: 'proc',
    },
  ])
})

test('the mounts of this process include /proc', async (t) => {
  t.true((await readMounts()).some(({ mountpoint, fsType }) => mountpoint === '/proc' && fsType === 'proc'))
})
