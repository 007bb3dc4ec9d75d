/**
 * The agent image: runs the agent on a source machine that was booted into it, whatever hardware that is. Drivers of disk
 * controllers, network cards, USB and keyboards; none for a disk's file systems, RAID sets, volume managers or device-mapper: what
 * the image cannot load cannot activate or change anything on the source. No firmware files: a card that needs one to
 * start is not driven.
 */
import type { Recipe } from '../lib/recipe.ts';

const storage = [
  'drivers/ata/',
  'drivers/nvme/host/',
  'drivers/usb/storage/',
  'drivers/message/fusion/',
  'drivers/scsi/aacraid/',
  'drivers/scsi/aic7xxx/',
  'drivers/scsi/arcmsr/',
  'drivers/scsi/bfa/',
  'drivers/scsi/esas2r/',
  'drivers/scsi/fnic/',
  'drivers/scsi/isci/',
  'drivers/scsi/lpfc/',
  'drivers/scsi/megaraid/',
  'drivers/scsi/mpi3mr/',
  'drivers/scsi/mpt3sas/',
  'drivers/scsi/mvsas/',
  'drivers/scsi/pm8001/',
  'drivers/scsi/qla2xxx/',
  'drivers/scsi/smartpqi/',
  'drivers/scsi/sym53c8xx_2/',
  '3w-9xxx',
  '3w-sas',
  'aic94xx',
  'BusLogic',
  'hpsa',
  'hptiop',
  'hv_storvsc',
  'initio',
  'ipr',
  'ips',
  'megaraid',
  'mvumi',
  'myrb',
  'myrs',
  'pmcraid',
  'qla1280',
  'stex',
  'virtio_blk',
  'virtio_scsi',
  'vmw_pvscsi',
  'xen-blkfront',
  'xen-scsifront',
  'sd_mod',
  // Intel's Volume Management Device hides NVMe disks behind a bridge of its own.
  'vmd',
  // eMMC and SD card readers.
  'mmc_block',
  'sdhci-pci',
  'sdhci-acpi',
  'rtsx_pci_sdmmc',
  'mtip32xx',
];

const network = [
  'drivers/net/ethernet/',
  'drivers/net/phy/',
  'drivers/net/usb/',
  'af_packet',
  'hv_netvsc',
  'mana',
  'virtio_net',
  'vmxnet3',
  'xen-netfront',
];

const usbAndConsole = [
  'drivers/usb/host/',
  'usbhid',
  'hid-generic',
  'hid-apple',
  'hid-cherry',
  'hid-logitech',
  'hid-logitech-dj',
  'hid-logitech-hidpp',
  'hid-microsoft',
  'hyperv-keyboard',
  'hid-hyperv',
];

const buses = ['hv_vmbus', 'hv_utils', 'virtio_pci', 'virtio_mmio', 'virtio_rng?', 'pci-hyperv'];

export const agent: Recipe = {
  name: 'agent',
  budgetBytes: 160 * 1024 * 1024,
  program: 'agent',
  lists: {
    debian: {
      kernel: 'linux-image-amd64',
      packages: ['busybox-static', 'libstdc++6', 'libxxhash0', 'util-linux', 'mount'],
      assumed: ['debconf', 'initramfs-tools', 'kmod', 'linux-base', 'tar'],
    },
    alpine: {
      kernel: 'linux-lts',
      packages: [
        'busybox-static',
        'nodejs',
        'libstdc++',
        'xxhash-libs',
        'lsblk',
        'blkid',
        'mount',
        'umount',
        'util-linux-misc',
      ],
      assumed: [],
    },
  },
  programs: [],
  modules: [...storage, ...network, ...usbAndConsole, ...buses, 'efivarfs'],
};
