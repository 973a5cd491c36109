// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Notes which 16 KiB blocks of watched files change, on one file system, and which inodes of it may have changed in
 * any way. docs/tracking.md
 * says why these places of the kernel see every change. Field offsets and enum values are taken from the running
 * kernel's BTF when the program is loaded (CO-RE), so only the fields that are
 * used are declared here. Whatever a kernel lacks makes the load fail: nothing is guessed.
 */

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define CO_RE __attribute__((preserve_access_index))
#define exists(field) __builtin_preserve_field_info(field, 2 /* BPF_FIELD_EXISTS */)

/* enum bpf_map_type, helper numbers: linux/bpf.h, never renumbered. */
#define MAP_HASH 1
#define MAP_ARRAY 2
#define MAP_LRU_HASH 9
#define NO_PREALLOC 1
#define BPF_EXIST 2
#define EXDEV 18
static void *(*const lookup)(void *map, const void *key) = (void *)1;
static long (*const update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*const take_away)(void *map, const void *key) = (void *)3;
static u64 (*const current_task)(void) = (void *)14;
static long (*const loop)(u32 count, void *body, void *context, u64 flags) = (void *)181;

struct super_block {
	u32 s_dev;
} CO_RE;
struct inode {
	struct super_block *i_sb;
	unsigned long i_ino;
	u32 i_nlink;
} CO_RE;
struct xfs_inode {
	struct inode i_vnode;
} CO_RE;
struct address_space {
	struct inode *host;
} CO_RE;
struct file {
	struct inode *f_inode;
} CO_RE;
struct kiocb {
	struct file *ki_filp;
	s64 ki_pos;
} CO_RE;
struct iov_iter {
	_Bool data_source;
	unsigned long count;
} CO_RE;
/* Since 6.6 a large folio's order is the low byte of its second page's flags; before, it was a field. */
struct folio {
	unsigned long index;
	unsigned long _flags_1;
	u8 _folio_order;
} CO_RE;
/* The flags became a structure in 6.18. */
struct folio___plain {
	unsigned long flags;
} CO_RE;
struct folio___struct {
	struct {
		unsigned long f;
	} flags;
} CO_RE;
enum pageflags { PG_head = 1 };
#define bit_of(type, name) (1UL << __builtin_preserve_enum_value(*(typeof(enum type) *)name, 1 /* BPF_ENUMVAL_VALUE */))

/*
 * Macros of fs/ext4/ext4.h and ext4_jbd2.h, so not in BTF. What is relied on is tried out on the file system itself
 * before the tracker is used
 * (self-test.ts).
 */
#define EXT4_HT_TRUNCATE 5
#define EXT4_HT_MOVE_EXTENTS 9
#define EXT4_CONVERT_UNWRITTEN 0x100
#define EXT4_ZERO 0x200

#define BLOCK_SHIFT 14
/* A block number no file has: the whole file may have changed. */
#define WHOLE (~0ULL)
/* More in one event (128 MiB) counts as the whole file: the loop must have an end. */
#define EVENT_BLOCKS_MAX 8192

/* Which place noted it, ORed into the map's value. Only the self-test looks at that. */
#define BY_DIRTY 1
#define BY_DIRECT_BEGIN 2
#define BY_DIRECT_END 4
#define BY_TRUNCATE 8
#define BY_ZERO 16
#define BY_REMAP 32

/* XFS_ILOCK_EXCL, fs/xfs/xfs_inode.h; tried out as well. */
#define XFS_ILOCK_EXCL 4

/* agent/store/tracker/touched-since.ts finds an inode's place in the same way. */
#define PLACE_BITS 18
#define PLACES (1 << PLACE_BITS)

/* In `watched`, on XFS: attributes are being set, under the lock that a truncate needs too. */
#define XFS_SETATTR 1

/* Set before the load; agent/store/tracker/program.ts has the layout. */
struct settings {
	/* s_dev of the file system: major << 20 | minor. */
	u32 device;
	u32 page_shift;
	/*
	 * For tests only: every so many-th event is dropped without a trace, to show that an audit finds a tracker that is
	 * broken. 0: none.
	 */
	u32 drop_every;
};
const volatile struct settings settings = {};

struct key {
	u64 inode;
	u64 block;
};
struct counters {
	/* Events that could not be noted, for whatever reason. */
	u64 lost;
	/* Events on watched inodes, counted only for `drop_every`. */
	u64 events;
	/* Why the last of the lost ones was: an errno. */
	u64 why;
};

#define field_uint(name, value) int(*name)[value]
#define field_type(name, type) typeof(type) *name

/* Full from the start: an event that comes with interrupts off must never wait for, or lack, memory. */
struct {
	field_uint(type, MAP_HASH);
	field_uint(max_entries, 262144);
	field_type(key, struct key);
	field_type(value, u32);
} dirty SEC(".maps");

struct {
	field_uint(type, MAP_HASH);
	field_uint(map_flags, NO_PREALLOC);
	field_uint(max_entries, 262144);
	field_type(key, u64);
	field_type(value, u32);
} watched SEC(".maps");

/* Direct reads under way, by the address of the kernel's request. */
struct {
	field_uint(type, MAP_LRU_HASH);
	field_uint(max_entries, 16384);
	field_type(key, u64);
	field_type(value, u32);
} reads SEC(".maps");

struct {
	field_uint(type, MAP_ARRAY);
	field_uint(max_entries, 1);
	field_type(key, u32);
	field_type(value, struct counters);
} counters SEC(".maps");

/* The number of the cut that came last. */
struct {
	field_uint(type, MAP_ARRAY);
	field_uint(max_entries, 1);
	field_type(key, u32);
	field_type(value, u32);
} cuts SEC(".maps");

/*
 * By a hash of its number, for every inode of the file system: the cut after which it may have changed last, and the
 * one after which its content may have.
 * Inodes that share a place are taken for each other: that costs a look, and nothing is ever lost for lack of room.
 */
struct place {
	u32 touched;
	u32 written;
};
struct places {
	struct place of[PLACES];
};
struct {
	field_uint(type, MAP_ARRAY);
	field_uint(max_entries, 1);
	field_type(key, u32);
	field_type(value, struct places);
} touched SEC(".maps");

/*
 * ext4's transactions under way, by task: the inode. Tasks are fewer by far, but one whose transaction could not
 * begin leaves its entry behind.
 */
struct {
	field_uint(type, MAP_LRU_HASH);
	field_uint(max_entries, 65536);
	field_type(key, u64);
	field_type(value, u64);
} transactions SEC(".maps");

static __attribute__((always_inline)) struct counters *counts(void)
{
	u32 zero = 0;
	return lookup(&counters, &zero);
}

static __attribute__((always_inline)) void lose(u64 why)
{
	struct counters *count = counts();
	if (count) {
		count->why = why;
		__sync_fetch_and_add(&count->lost, 1);
	}
}

/* An inode may have changed: its content (`written`), an attribute, or a name in it. */
static __attribute__((always_inline)) void touch(u64 inode, int written)
{
	u32 zero = 0;
	u32 *cut = lookup(&cuts, &zero);
	struct places *places = lookup(&touched, &zero);
	u32 hash = ((u32)inode * 0x9e3779b1) ^ ((u32)(inode >> 32) * 0x85ebca77);
	if (!cut || !places)
		return;
	places->of[hash >> (32 - PLACE_BITS)].touched = *cut;
	if (written)
		places->of[hash >> (32 - PLACE_BITS)].written = *cut;
}

static __attribute__((always_inline)) int touch_here(struct inode *inode)
{
	if (inode->i_sb->s_dev == settings.device)
		touch(inode->i_ino, 0);
	return 0;
}

/* Whether anybody wants to know of this inode; also drops events for tests. */
static __attribute__((always_inline)) int wanted(struct inode *inode, u64 *number)
{
	if (inode->i_sb->s_dev != settings.device)
		return 0;
	*number = inode->i_ino;
	touch(*number, 1);
	if (!lookup(&watched, number))
		return 0;
	if (settings.drop_every) {
		struct counters *count = counts();
		if (count && __sync_fetch_and_add(&count->events, 1) % settings.drop_every == settings.drop_every - 1)
			return 0;
	}
	return 1;
}

static __attribute__((always_inline)) void mark(u64 inode, u64 block, u32 by)
{
	struct key key = { .inode = inode, .block = block };
	u32 *known = lookup(&dirty, &key);
	if (known) {
		/* Being taken out at this moment is as good: then it belongs to that cut, which has not returned yet. */
		*known |= by;
		return;
	}
	long failed = update(&dirty, &key, &by, 0);
	if (failed)
		lose(-failed);
}

struct range {
	u64 inode;
	u64 first;
	u32 by;
};

static long mark_next(u32 index, struct range *range)
{
	mark(range->inode, range->first + index, range->by);
	return 0;
}

static __attribute__((always_inline)) void mark_bytes(u64 inode, u64 offset, u64 length, u32 by)
{
	u64 first = offset >> BLOCK_SHIFT;
	u64 last = (offset + length - 1) >> BLOCK_SHIFT;
	if (first == last) {
		mark(inode, first, by);
	} else if (last - first >= EVENT_BLOCKS_MAX) {
		mark(inode, WHOLE, by);
	} else {
		struct range range = { .inode = inode, .first = first, .by = by };
		loop((u32)(last - first) + 1, mark_next, &range, 0);
	}
}

static __attribute__((always_inline)) u32 order_of(struct folio *folio)
{
	struct folio___plain *plain = (void *)folio;
	struct folio___struct *structured = (void *)folio;
	unsigned long flags;
	if (exists(structured->flags.f))
		flags = structured->flags.f;
	else
		flags = plain->flags;
	if (!(flags & bit_of(pageflags, PG_head)))
		return 0;
	if (exists(folio->_folio_order))
		return folio->_folio_order;
	return folio->_flags_1 & 0xff;
}

/* A page went from clean to dirty, by write(2) or by the first store through a mapping. Interrupts are off. */
SEC("tp_btf/writeback_dirty_folio")
int on_dirty(u64 *context)
{
	struct folio *folio = (void *)context[0];
	struct address_space *mapping = (void *)context[1];
	u64 inode;
	if (!mapping || !mapping->host || !wanted(mapping->host, &inode))
		return 0;
	mark_bytes(inode, (u64)folio->index << settings.page_shift, 1ULL << (order_of(folio) + settings.page_shift), BY_DIRTY);
	return 0;
}

/*
 * A direct read or write begins. Only here can they be told apart: at the end there is no more than the request,
 * whose flags do not always say it. So
 * reads are remembered, not writes: whatever is forgotten then counts as a write.
 */
SEC("tp_btf/iomap_dio_rw_begin")
int on_direct_begin(u64 *context)
{
	struct kiocb *request = (void *)context[0];
	struct iov_iter *data = (void *)context[1];
	struct inode *inode = request->ki_filp->f_inode;
	u64 number = inode->i_ino;
	u64 address = context[0];
	u32 one = 1;
	if (inode->i_sb->s_dev != settings.device)
		return 0;
	if (!data->data_source) {
		if (lookup(&watched, &number))
			update(&reads, &address, &one, 0);
		return 0;
	}
	/* A read that had this address and never came to an end. */
	take_away(&reads, &address);
	if (data->count && wanted(inode, &number))
		mark_bytes(number, request->ki_pos, data->count, BY_DIRECT_BEGIN);
	return 0;
}

/* A direct write is on the disk and out of the page cache; ki_pos is behind it by now. */
SEC("tp_btf/iomap_dio_complete")
int on_direct_end(u64 *context)
{
	struct kiocb *request = (void *)context[0];
	int error = (int)context[1];
	s64 written = (s64)context[2];
	struct inode *inode = request->ki_filp->f_inode;
	u64 number = inode->i_ino;
	u64 address = context[0];
	if (inode->i_sb->s_dev != settings.device)
		return 0;
	touch(number, 1);
	if (!lookup(&watched, &number))
		return 0;
	if (!take_away(&reads, &address) || !wanted(inode, &number))
		return 0;
	if (error || written < 0)
		mark(number, WHOLE, BY_DIRECT_END); /* Some of it may have landed, nobody says what. */
	else if (written > 0)
		mark_bytes(number, request->ki_pos - written, written, BY_DIRECT_END);
	return 0;
}

/* An inode's times moved, or anything else of it changed through what all file systems share. */
SEC("tp_btf/writeback_mark_inode_dirty")
int on_inode(u64 *context)
{
	return touch_here((void *)context[0]);
}

/*
 * What follows changes content without a page becoming dirty: truncate, holes, shifted and shared extents, exchanged
 * ranges, the end of an unlinked
 * inode (whose number may come again). Each is noted when the file's cached pages are gone already, or its reads wait
 * for the lock that is held.
 */
static __attribute__((always_inline)) int mark_whole(struct inode *inode, u32 by)
{
	u64 number;
	if (wanted(inode, &number))
		mark(number, WHOLE, by);
	return 0;
}

/*
 * A transaction that will free a file's blocks (truncate, punch, collapse, insert, last close of an unlinked file) or
 * exchange two files'.
 */
SEC("tp_btf/ext4_journal_start_inode")
int ext4_on_transaction(u64 *context)
{
	struct inode *inode = (void *)context[0];
	int type = (int)context[4];
	u64 task = current_task();
	u64 number = inode->i_ino;
	if (inode->i_sb->s_dev != settings.device)
		return 0;
	/* What the transaction does to the inode comes after this event. */
	update(&transactions, &task, &number, 0);
	if (type == EXT4_HT_TRUNCATE)
		return mark_whole(inode, BY_TRUNCATE);
	/* Defragmentation and the like. The other file is not named, so nobody's answer is good. */
	if (type == EXT4_HT_MOVE_EXTENTS)
		lose(EXDEV);
	return 0;
}

/*
 * A task's transaction ends, on any file system with this kind of journal. Until here a sync of the file system waits
 * for it. On a file system without a journal no transaction ends: what the task began there must not be ended by one of
 * another file system.
 */
SEC("tp_btf/jbd2_handle_stats")
int ext4_on_transaction_end(u64 *context)
{
	u64 task = current_task();
	u64 *inode;
	if ((u32)context[0] != settings.device)
		return 0;
	inode = lookup(&transactions, &task);
	if (!inode)
		return 0;
	touch(*inode, 0);
	take_away(&transactions, &task);
	return 0;
}

/* An inode's new state is on its way to the journal. */
SEC("tp_btf/ext4_mark_inode_dirty")
int ext4_on_inode(u64 *context)
{
	return touch_here((void *)context[0]);
}

/* Written blocks become unwritten ones or zeros: FALLOC_FL_ZERO_RANGE, FALLOC_FL_WRITE_ZEROES. */
SEC("tp_btf/ext4_ext_map_blocks_enter")
int ext4_on_map(u64 *context)
{
	if ((u32)context[3] & (EXT4_CONVERT_UNWRITTEN | EXT4_ZERO))
		return mark_whole((void *)context[0], BY_ZERO);
	return 0;
}

/* Whatever changes an inode of XFS holds this lock until it has. */
SEC("tp_btf/xfs_iunlock")
int xfs_on_unlock(u64 *context)
{
	if (!((u32)context[1] & XFS_ILOCK_EXCL))
		return 0;
	return touch_here(&((struct xfs_inode *)context[0])->i_vnode);
}

/* chmod and utimes come here as well; whether it is a truncate shows next. */
SEC("tp_btf/xfs_setattr")
int xfs_on_setattr(u64 *context)
{
	struct inode *inode = &((struct xfs_inode *)context[0])->i_vnode;
	u64 number = inode->i_ino;
	u32 *state;
	if (inode->i_sb->s_dev != settings.device)
		return 0;
	state = lookup(&watched, &number);
	if (state)
		*state = XFS_SETATTR;
	return 0;
}

/*
 * Extents are dropped: by the truncate, or when blocks allocated beyond the end of the file are given back, which
 * changes nothing.
 */
SEC("tp_btf/xfs_itruncate_extents_start")
int xfs_on_truncate(u64 *context)
{
	struct inode *inode = &((struct xfs_inode *)context[0])->i_vnode;
	u64 number = inode->i_ino;
	u32 none = 0;
	u32 *state;
	if (inode->i_sb->s_dev != settings.device)
		return 0;
	state = lookup(&watched, &number);
	if (!state || *state != XFS_SETATTR)
		return 0;
	/*
	 * By its key: what the pointer leads to may be another inode's by now, if this one was given up. Failing costs a
	 * false "all".
	 */
	update(&watched, &number, &none, BPF_EXIST);
	return mark_whole(inode, BY_TRUNCATE);
}

/* Punch, collapse; zero range on most files. */
SEC("tp_btf/xfs_free_file_space")
int xfs_on_free(u64 *context)
{
	return mark_whole(&((struct xfs_inode *)context[0])->i_vnode, BY_TRUNCATE);
}

SEC("tp_btf/xfs_zero_file_space")
int xfs_on_zero(u64 *context)
{
	return mark_whole(&((struct xfs_inode *)context[0])->i_vnode, BY_ZERO);
}

SEC("tp_btf/xfs_insert_file_space")
int xfs_on_insert(u64 *context)
{
	return mark_whole(&((struct xfs_inode *)context[0])->i_vnode, BY_TRUNCATE);
}

/* FICLONE, FICLONERANGE, copy_file_range: the fourth is the file that is written to. */
SEC("tp_btf/xfs_reflink_remap_range")
int xfs_on_remap(u64 *context)
{
	return mark_whole(&((struct xfs_inode *)context[3])->i_vnode, BY_REMAP);
}

/* XFS_IOC_SWAPEXT: called once for each of the two. */
SEC("tp_btf/xfs_swap_extent_before")
int xfs_on_swap(u64 *context)
{
	return mark_whole(&((struct xfs_inode *)context[0])->i_vnode, BY_REMAP);
}

/* XFS_IOC_EXCHANGE_RANGE, XFS_IOC_COMMIT_RANGE; since 6.10, not loaded where the kernel has neither. */
SEC("tp_btf/xfs_exchrange_mappings")
int xfs_on_exchange(u64 *context)
{
	mark_whole(&((struct xfs_inode *)context[1])->i_vnode, BY_REMAP);
	return mark_whole(&((struct xfs_inode *)context[2])->i_vnode, BY_REMAP);
}

/* An inode leaves memory. Without a name left, its number is free next. */
SEC("tp_btf/xfs_destroy_inode")
int xfs_on_destroy(u64 *context)
{
	struct inode *inode = &((struct xfs_inode *)context[0])->i_vnode;
	return inode->i_nlink ? 0 : mark_whole(inode, BY_TRUNCATE);
}

/* The kernel lets only GPL-compatible programs read its structures (kernel/bpf/verifier.c, check_ptr_to_btf_access). */
char licenses[] SEC("license") = "Dual BSD/GPL";
